/**
 * What a manifest in a store says: the whole archive as of one version. A commit is a manifest of the next version.
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

/** One object of a frame's file. A file is its parts, in their order. */
export interface StoredPart {
  readonly key: string
  /** Bytes. */
  readonly size: number
  /** In 8 hexadecimal digits. */
  readonly crc32: string
}

/** The objects of a frame. */
export interface FrameObjects {
  readonly memory: readonly StoredPart[]
  /** Absent: the frame has no JavaScript objects. */
  readonly state?: readonly StoredPart[]
}

/** A frame in a store. */
export interface RemoteFrame extends Manifest {
  readonly objects: FrameObjects
}

/** Objects of frames that were given up, until they are removed. */
export interface Garbage {
  readonly keys: readonly string[]
  /** The first version that does not need them. */
  readonly version: number
  /** When that was, by the clock of the store, in ms; absent: not known yet. It is never before the fact. */
  readonly sinceMs?: number
}

export interface RemoteState {
  /** From 1 on. */
  readonly version: number
  /** Of the writer. Each that opens the archive has the next one, which ends those before it. */
  readonly epoch: number
  /** By which a writer knows its own manifest again. */
  readonly nonce: string
  /** In the order of their numbers. */
  readonly frames: readonly RemoteFrame[]
  readonly garbage: readonly Garbage[]
}

export function encodeState(state: RemoteState): Uint8Array {
  return Buffer.from(encodeChecked({ format, ...state }))
}

/**
 * @param version - that it has to be of.
 * @throws Error with the reason why it cannot be believed.
 */
export function decodeState(body: Uint8Array, version: number): RemoteState {
  const value = decodeChecked(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString())
  const { format: written, ...state } = value as RemoteState & { format: unknown }
  if (written !== format) throw new Error(`it is of format ${written}, which this version cannot read`)
  if (state.version !== version) throw new Error(`it is the manifest of version ${state.version}`)
  const looksRight =
    Number.isSafeInteger(state.epoch) &&
    typeof state.nonce === 'string' &&
    Array.isArray(state.frames) &&
    state.frames.every(isFrame) &&
    Array.isArray(state.garbage) &&
    state.garbage.every(isGarbage)
  if (!looksRight) throw new Error('it lacks what every manifest has')
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

/** What is not below `data/` is nobody's to remove. */
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

/** The next version, with other frames. What none of them has any more becomes garbage. */
export function successorOf(
  state: RemoteState,
  { nonce, frames }: Pick<RemoteState, 'nonce' | 'frames'>,
): RemoteState {
  const needed = keysOf(frames)
  // It may be gone already.
  const givenUp = state.garbage.flatMap(({ keys }) => keys.filter((key) => needed.has(key)))
  if (givenUp[0] !== undefined) throw missingPart(givenUp[0])
  const version = state.version + 1
  const keys = [...keysOf(state.frames)].filter((key) => !needed.has(key))
  const garbage = keys.length === 0 ? state.garbage : [...state.garbage, { keys, version }]
  return { version, epoch: state.epoch, nonce, frames, garbage }
}

/** The parts that the frames of one have, and those of the other do not. */
export function addedParts(before: RemoteState, after: RemoteState): StoredPart[] {
  const known = keysOf(before.frames)
  const parts = after.frames.flatMap(({ objects }) => [...objects.memory, ...(objects.state ?? [])])
  return parts.filter(({ key }) => !known.has(key))
}

/** For a frame that cannot be committed. */
export function missingPart(key: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_NOT_FOUND',
    `Object '${key}' is not in the store, or not as it was uploaded, or was given up since. Upload the frame again`,
  )
}

/** Tells when that came to be garbage of which it was not known: at the latest when this state was put. */
export function withTimes(state: RemoteState, putMs: number): RemoteState {
  return { ...state, garbage: state.garbage.map((entry) => ({ sinceMs: putMs, ...entry })) }
}
