/**
 * The manifest of a frame: one line of JSON, whose last member is the CRC-32 of the text before it.
 *
 *   {"format":1,"number":12,"id":"…", … ,"crc32":"0a1b2c3d"}
 *
 * Members that this version does not know are kept as they are, so newer versions may add some.
 */

import type { SnapshotResult } from '../snapshot/snapshot.js'
import { decodeChecked, encodeChecked } from './checked-json.js'

const format = 1

/** Measurements of a capture, as found in its result, its manifest and its frame. */
type Measurements = Readonly<
  Pick<
    SnapshotResult,
    | 'byteLength'
    | 'changedBytes'
    | 'scannedBytes'
    | 'fileSize'
    | 'allocatedBytes'
    | 'engine'
    | 'faultHandling'
    | 'pauseMs'
    | 'durationMs'
    | 'copiedBytesPeak'
  >
>

/** Picks the measurements out of an object that has more members. */
export function measurementsOf(measured: Measurements): Measurements {
  const { byteLength, changedBytes, scannedBytes, fileSize, allocatedBytes } = measured
  const { engine, faultHandling, pauseMs, durationMs, copiedBytesPeak } = measured
  return {
    byteLength,
    changedBytes,
    scannedBytes,
    fileSize,
    allocatedBytes,
    engine,
    faultHandling,
    pauseMs,
    durationMs,
    copiedBytesPeak,
  }
}

/**
 * Contents of a manifest. Sizes are in bytes, times in milliseconds. `fileSize` is the length of
 * the memory file.
 */
export interface Manifest extends Measurements {
  readonly number: number
  readonly id: string
  /** Id of the parent frame; absent for a full frame. */
  readonly parentId?: string
  readonly parentNumber?: number
  /** Milliseconds since the epoch, with fractions. */
  readonly frozenAtMs: number
  readonly sections: readonly { readonly name: string; readonly byteLength: number }[]
  /** The compression that the caller chose; absent if the file is not compressed. */
  readonly compression?: { readonly codec: 'zstd'; readonly level: number }
  /** The file with the JavaScript objects; absent if the frame has none. */
  readonly state?: { readonly fileSize: number; readonly crc32: string }
  /** The set that the frame was captured for. */
  readonly set?: string
  /** When the frame was compacted into a full file. */
  readonly compactedAtMs?: number
  /**
   * When the frame was retired. It is no longer listed, and its files go once no listed frame
   * builds on it.
   */
  readonly retiredAtMs?: number
}

/** The manifest of a frame whose delta file was replaced with a full one. */
export function asCompacted(
  { parentId: _, parentNumber: __, ...rest }: Manifest,
  file: Pick<Manifest, 'fileSize' | 'allocatedBytes'>,
): Manifest {
  return { ...rest, ...file, compactedAtMs: Date.now() }
}

/** Disk space that the files of a frame occupy, in bytes. */
export function diskBytesOf({ allocatedBytes, state }: Manifest): number {
  return allocatedBytes + (state?.fileSize ?? 0)
}

export function encodeManifest(manifest: Manifest): string {
  // For human readers.
  const frozenAt = new Date(manifest.frozenAtMs).toISOString()
  return encodeChecked({ format, frozenAt, ...manifest })
}

/**
 * @param number - number of the frame that the manifest must belong to.
 * @throws Error with the reason why the text is not valid.
 */
export function decodeManifest(text: string, number: number): Manifest {
  const { format: written, ...manifest } = decodeChecked(text) as Manifest & { format: unknown }
  if (written !== format) throw new Error(`it has format ${written}, which this version cannot read`)
  if (manifest.number !== number) throw new Error(`it is the manifest of frame ${manifest.number}`)
  if (
    typeof manifest.id !== 'string' ||
    !Number.isFinite(manifest.frozenAtMs) ||
    !Array.isArray(manifest.sections)
  )
    throw new Error('it lacks required fields')
  return manifest
}
