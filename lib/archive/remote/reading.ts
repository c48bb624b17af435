/** Reads the small objects of the protocol, and verifies what the store returns. */

import { Buffer } from 'node:buffer'
import { codeOf, StillframeError } from '../../base/errors.js'
import { isSealed } from '../../store/seal.js'
import { type FetchedObject, type ObjectStore, storeFailure } from '../../store/store.js'
import { decodeChecked } from '../checked-json.js'
import { manifestKey } from './names.js'
import { decodeState, type RemoteState } from './remote-state.js'

/** A value, and the time at which it was put, by the clock of the store. */
export interface Read<Value> {
  readonly value: Value
  readonly putMs: number
  readonly etag: string
}

/** Damage may have occurred in transit, in which case another read succeeds. */
const readings = 3

/**
 * @param decode - throws an Error with the reason if the bytes are not valid.
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
    `Object '${key}' of the archive is damaged: ${(reason as Error).message}. Restore an earlier version ` +
      'of this object if the store keeps versions',
    { cause: reason },
  )
}

function withoutKey(key: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_KEY',
    `Object '${key}' of the archive is encrypted. Open the archive with the encryption that it was written with`,
  )
}

/** The manifest of this version; undefined if there is none. */
export async function readState(store: ObjectStore, version: number): Promise<Read<RemoteState> | undefined> {
  return await readChecked(store, manifestKey(version), (body) => decodeState(body, version))
}

/** Decodes the body of an object for `readChecked()`. */
export function decodeMembers(body: Uint8Array): Record<string, unknown> {
  return decodeChecked(Buffer.from(body).toString()) as Record<string, unknown>
}

async function getWhole(store: ObjectStore, key: string): Promise<FetchedObject | undefined> {
  try {
    const object = await store.get(key)
    if (object.body.byteLength === object.size) return object
    throw storeFailure(
      key,
      `${object.body.byteLength} bytes were received instead of ${object.size}. Check the network`,
    )
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}

/** Compares codes, since a user-supplied store may throw errors of another realm. */
export function isNotFound(error: unknown): boolean {
  return codeOf(error) === 'ERR_STILLFRAME_NOT_FOUND'
}

/** True if a condition did not hold, or if this very put has succeeded before. */
export function isExists(error: unknown): boolean {
  return codeOf(error) === 'ERR_STILLFRAME_EXISTS'
}

/** True if the object itself is damaged, so that another attempt would not help. */
export function isDamage(error: unknown): boolean {
  return codeOf(error) === 'ERR_STILLFRAME_CORRUPT'
}

/** Errors that another attempt would not change. */
const hasReason = new Set(['ERR_STILLFRAME_CORRUPT', 'ERR_STILLFRAME_KEY'])

/** Turns an error of any store into a StillframeError. */
export function toFailure(error: unknown, key: string, message: string): StillframeError {
  if (error instanceof StillframeError && hasReason.has(error.code)) return error
  return storeFailure(key, message, error)
}
