/** Reading the small objects of the protocol from a store that is not believed. */

import { Buffer } from 'node:buffer'
import { codeOf, StillframeError } from '../../base/errors.js'
import { isSealed } from '../../store/seal.js'
import { type FetchedObject, type ObjectStore, storeFailure } from '../../store/store.js'
import { decodeChecked } from '../checked-json.js'
import { manifestKey } from './names.js'
import { decodeState, type RemoteState } from './remote-state.js'

/** What was read, and when it was put, by the clock of the store. */
export interface Read<Value> {
  readonly value: Value
  readonly putMs: number
  readonly etag: string
}

/** Damage may have come about on the way: then a second reading shows it. */
const readings = 3

/**
 * @param decode - throws the reason why the bytes cannot be believed.
 * @returns undefined if there is no such object.
 * @throws StillframeError `ERR_STILLFRAME_CORRUPT`
 */
export async function readChecked<Value>(
  store: ObjectStore,
  key: string,
  decode: (body: Uint8Array) => Value,
): Promise<Read<Value> | undefined> {
  let reason: unknown
  for (let reading = 0; reading < readings; reading++) {
    const object = await getWhole(store, key)
    if (object === undefined) return undefined
    if (isSealed(object.body)) throw withoutKey(key)
    try {
      return { value: decode(object.body), putMs: object.lastModified.getTime(), etag: object.etag }
    } catch (error) {
      reason = error
    }
  }
  throw new StillframeError(
    'ERR_STILLFRAME_CORRUPT',
    `Object '${key}' of the archive is damaged: ${(reason as Error).message}. Bring back an earlier version of this object, ` +
      'if the store keeps them',
    { cause: reason },
  )
}

function withoutKey(key: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_KEY',
    `Object '${key}' of the archive is encrypted. Open the archive with the encryption that it was written with`,
  )
}

/** A manifest, if there is one of this version. */
export async function readState(store: ObjectStore, version: number): Promise<Read<RemoteState> | undefined> {
  return await readChecked(store, manifestKey(version), (body) => decodeState(body, version))
}

/** For `readChecked()`. */
export function decodeMembers(body: Uint8Array): Record<string, unknown> {
  return decodeChecked(Buffer.from(body).toString()) as Record<string, unknown>
}

async function getWhole(store: ObjectStore, key: string): Promise<FetchedObject | undefined> {
  try {
    const object = await store.get(key)
    if (object.body.byteLength === object.size) return object
    throw storeFailure(key, `${object.body.byteLength} bytes came of ${object.size}. Look at the network`)
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}

/** By the code: a store may be an object of the user's, and throw errors of another realm. */
export function isNotFound(error: unknown): boolean {
  return codeOf(error) === 'ERR_STILLFRAME_NOT_FOUND'
}

/** A condition did not hold, or this very put has succeeded before. */
export function isExists(error: unknown): boolean {
  return codeOf(error) === 'ERR_STILLFRAME_EXISTS'
}

/** Said of what was read, which does not become better when it is asked again. */
export function isDamage(error: unknown): boolean {
  return codeOf(error) === 'ERR_STILLFRAME_CORRUPT'
}

/** What another attempt does not change. */
const hasReason = new Set(['ERR_STILLFRAME_CORRUPT', 'ERR_STILLFRAME_KEY'])

/** What any store has thrown, as a StillframeError. */
export function toFailure(error: unknown, key: string, message: string): StillframeError {
  if (error instanceof StillframeError && hasReason.has(error.code)) return error
  return storeFailure(key, message, error)
}
