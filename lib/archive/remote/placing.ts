/**
 * Puts a manifest if there is none of its version, and finds out whether the put succeeded. A reply
 * may be lost, and a request may be repeated in transit; the store then answers that the object
 * exists, which may be this very manifest. Its nonce tells.
 */

import type { ObjectStore } from '../../store/store.js'
import { manifestKey } from './names.js'
import { isDamage, isExists, type Read, readState, toFailure } from './reading.js'
import { encodeState, type RemoteState } from './remote-state.js'
import { backOff, type Surroundings } from './surroundings.js'

/**
 * `'placed'` if this manifest is there, `'gone'` if another one was and has been removed since;
 * otherwise the other manifest that is there.
 */
export type Placed = 'placed' | 'gone' | Read<RemoteState>

const attempts = 8

/**
 * @throws StillframeError `ERR_STILLFRAME_IO` if it is unknown whether the manifest exists, or
 *   will.
 */
export async function placeState(
  store: ObjectStore,
  state: RemoteState,
  surroundings: Surroundings,
): Promise<Placed> {
  const key = manifestKey(state.version)
  const body = encodeState(state)
  let failure: unknown
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await backOff(surroundings, attempt)
    try {
      const exists = await putIfAbsent(store, key, body)
      if (!exists) return 'placed'
      const found = await readState(store, state.version)
      if (found === undefined) return 'gone'
      return found.value.nonce === state.nonce ? 'placed' : found
    } catch (error) {
      if (isDamage(error)) throw error
      failure = error
    }
  }
  throw toFailure(
    failure,
    key,
    `${attempts} attempts to commit got no answer, so it is unknown whether the commit succeeded. The next ` +
      'operation will find out',
  )
}

/** @returns true if an object existed already. */
async function putIfAbsent(store: ObjectStore, key: string, body: Uint8Array): Promise<boolean> {
  try {
    await store.put(key, body, { ifAbsent: true })
    return false
  } catch (error) {
    if (isExists(error)) return true
    throw error
  }
}
