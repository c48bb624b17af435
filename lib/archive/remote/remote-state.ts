/**
 * The manifest of an archive in a store: the whole archive as of one version. A commit is a
 * manifest of the next version.
 *
 *   {"format":1,"version":7,"epoch":2,"nonce":"…","frames":[…],"garbage":[…],"crc32":"0a1b2c3d"}
 */

import { Buffer } from 'node:buffer'
import { StillframeError } from '../../base/errors.js'
import { isKey } from '../../store/store.js'
import { decodeChecked, encodeChecked } from '../checked-json.js'
import type { Manifest } from '../manifest.js'
import { dataPrefix } from './names.js'

const format = 1

/** One object of a file. A file is the concatenation of its parts. */
export interface StoredPart {
  readonly key: string
  /** Size in bytes. */
  readonly size: number
  /** CRC-32 in 8 hexadecimal digits. */
  readonly crc32: string
}

/** The store objects of a frame. */
export interface FrameObjects {
  readonly memory: readonly StoredPart[]
  /** Absent if the frame has no JavaScript objects. */
  readonly state?: readonly StoredPart[]
}

/** A frame in a store. */
export interface RemoteFrame extends Manifest {
  readonly objects: FrameObjects
}

/** Objects of pruned frames that have not been removed yet. */
export interface Garbage {
  readonly keys: readonly string[]
  /** The first version that does not need these objects. */
  readonly version: number
  /**
   * Time of that version in milliseconds, by the clock of the store; absent if not known yet. It
   * may be later than the actual time, but never earlier.
   */
  readonly sinceMs?: number
}

export interface RemoteState {
  /** Counts from 1. */
  readonly version: number
  /**
   * Epoch of the writer. Each opening for writing takes the next epoch, which fences all earlier
   * writers.
   */
  readonly epoch: number
  /** Lets a writer recognize its own manifest. */
  readonly nonce: string
  /** In order of number. */
  readonly frames: readonly RemoteFrame[]
  readonly garbage: readonly Garbage[]
}

export function encodeState(state: RemoteState): Uint8Array {
  return Buffer.from(encodeChecked({ format, ...state }))
}

/**
 * @param version - the version that the manifest must have.
 * @throws Error with the reason why the bytes are not valid.
 */
export function decodeState(body: Uint8Array, version: number): RemoteState {
  const value = decodeChecked(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString())
  const { format: written, ...state } = value as RemoteState & { format: unknown }
  if (written !== format) throw new Error(`it has format ${written}, which this version cannot read`)
  if (state.version !== version) throw new Error(`it is the manifest of version ${state.version}`)
  const looksRight =
    Number.isSafeInteger(state.epoch) &&
    typeof state.nonce === 'string' &&
    Array.isArray(state.frames) &&
    state.frames.every(isFrame) &&
    Array.isArray(state.garbage) &&
    state.garbage.every(isGarbage)
  if (!looksRight) throw new Error('it lacks required fields')
  return state
}

function isFrame(value: unknown): boolean {
  const frame = value as Partial<RemoteFrame> | null
  return (
    typeof frame?.id === 'string' &&
    Number.isSafeInteger(frame.number) &&
    arePartsOf(frame.objects?.memory) &&
    (frame.objects?.state === undefined || arePartsOf(frame.objects.state))
  )
}

function arePartsOf(value: unknown): boolean {
  return Array.isArray(value) && value.every(isPart)
}

function isPart(value: unknown): boolean {
  const part = value as Partial<StoredPart> | null
  return (
    isDataKey(part?.key) &&
    Number.isSafeInteger(part?.size) &&
    Number(part?.size) >= 0 &&
    /^[0-9a-f]{8}$/.test(String(part?.crc32))
  )
}

/** Nothing outside `data/` may ever be removed as garbage. */
function isDataKey(key: unknown): boolean {
  return typeof key === 'string' && key.startsWith(dataPrefix) && isKey(key)
}

function isGarbage(value: unknown): boolean {
  const garbage = value as Partial<Garbage> | null
  return (
    Array.isArray(garbage?.keys) &&
    garbage.keys.every(isDataKey) &&
    Number.isSafeInteger(garbage.version) &&
    (garbage.sinceMs === undefined || Number.isFinite(garbage.sinceMs))
  )
}

/** The keys of all objects of these frames. */
export function keysOf(frames: readonly RemoteFrame[]): Set<string> {
  const keys = new Set<string>()
  for (const { objects } of frames) {
    for (const { key } of objects.memory) keys.add(key)
    for (const { key } of objects.state ?? []) keys.add(key)
  }
  return keys
}

/** The next version, with these frames. Objects that none of them needs become garbage. */
export function successorOf(
  state: RemoteState,
  { nonce, frames }: Pick<RemoteState, 'nonce' | 'frames'>,
): RemoteState {
  const needed = keysOf(frames)
  // Garbage may have been removed already.
  const givenUp = state.garbage.flatMap(({ keys }) => keys.filter((key) => needed.has(key)))
  if (givenUp[0] !== undefined) throw missingPart(givenUp[0])
  const version = state.version + 1
  const keys = [...keysOf(state.frames)].filter((key) => !needed.has(key))
  const garbage = keys.length === 0 ? state.garbage : [...state.garbage, { keys, version }]
  return { version, epoch: state.epoch, nonce, frames, garbage }
}

/** The parts that frames of `after` have and frames of `before` do not. */
export function addedParts(before: RemoteState, after: RemoteState): StoredPart[] {
  const known = keysOf(before.frames)
  const parts = after.frames.flatMap(({ objects }) => [...objects.memory, ...(objects.state ?? [])])
  return parts.filter(({ key }) => !known.has(key))
}

/** The error for a frame that cannot be committed. */
export function missingPart(key: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_NOT_FOUND',
    `Object '${key}' is missing from the store, differs from what was uploaded, or has been pruned since. ` +
      'Upload the frame again',
  )
}

/** Fills in unknown times of garbage: it became garbage no later than when this state was put. */
export function withTimes(state: RemoteState, putMs: number): RemoteState {
  return { ...state, garbage: state.garbage.map((entry) => ({ sinceMs: putMs, ...entry })) }
}
