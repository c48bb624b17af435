/**
 * Tests whether a store supports what the protocol relies on: conditional writes. Some stores do
 * not, and some silently ignore the condition. So the store is tested each time a writer opens an
 * archive.
 */

import { Buffer } from 'node:buffer'
import { StillframeError } from '../../base/errors.js'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { probeKey } from './names.js'
import { isExists, toFailure } from './reading.js'
import { backOff, type Surroundings } from './surroundings.js'

const attempts = 8

/** @throws StillframeError `ERR_STILLFRAME_UNSUPPORTED_STORE` */
export async function probeStore(store: ObjectStore, surroundings: Surroundings): Promise<void> {
  let failure: unknown
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await backOff(surroundings, attempt)
    const key = probeKey(surroundings.nonce())
    try {
      const missing = await whatIsMissing(store, key)
      // If this fails, a later collection removes the probe.
      await store.delete(key).catch(() => {})
      if (missing === undefined) return
      throw unsupported(missing)
    } catch (error) {
      if (isUnsupported(error)) throw error
      failure = error
    }
  }
  throw toFailure(
    failure,
    probeKey(''),
    `the features of the store could not be probed in ${attempts} attempts`,
  )
}

async function whatIsMissing(store: ObjectStore, key: string): Promise<string | undefined> {
  // The condition holds. If the store refuses it nevertheless, the request was repeated in transit.
  await isRefused(store.put(key, words.first, { ifAbsent: true }))
  if (!(await isRefused(store.put(key, words.second, { ifAbsent: true })))) {
    return 'it overwrites existing objects (If-None-Match: *)'
  }
  const { word, etag } = await readWord(store, key)
  if (word !== 'first')
    return 'it reports that it does not overwrite existing objects, but does so (If-None-Match: *)'
  const wrong = '0'.repeat(etag.length - 1) + (etag.endsWith('0') ? '1' : '0')
  if (!(await isRefused(store.put(key, words.second, { ifMatch: wrong })))) {
    return 'it overwrites an object other than the specified one (If-Match)'
  }
  await isRefused(store.put(key, words.third, { ifMatch: etag }))
  const replaced = await readWord(store, key)
  if (replaced.word !== 'third') return 'it does not overwrite the specified object (If-Match)'
  return undefined
}

const words = { first: Buffer.from('first'), second: Buffer.from('second'), third: Buffer.from('third') }

/**
 * Returns which word the object contains. Other bytes were changed in transit and prove nothing.
 */
async function readWord(store: ObjectStore, key: string): Promise<{ word: string; etag: string }> {
  const { body, etag } = await store.get(key)
  const [word] = Object.entries(words).find(([, bytes]) => Buffer.compare(bytes, body) === 0) ?? []
  if (word === undefined)
    throw storeFailure(key, 'the bytes that were read differ from those that were written')
  return { word, etag }
}

async function isRefused(put: Promise<unknown>): Promise<boolean> {
  try {
    await put
    return false
  } catch (error) {
    if (isExists(error)) return true
    throw error
  }
}

function unsupported(missing: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_UNSUPPORTED_STORE',
    `An archive cannot be written to this store, since ${missing}. Use a store with conditional writes, or ` +
      'keep the archive in a directory',
  )
}

function isUnsupported(error: unknown): boolean {
  return error instanceof StillframeError && error.code === 'ERR_STILLFRAME_UNSUPPORTED_STORE'
}
