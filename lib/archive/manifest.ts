/**
 * The manifest of a frame: one line of JSON, whose last member is the CRC-32 of what is before it.
 *
 *   {"format":1,"number":12,"id":"…", … ,"crc32":"0a1b2c3d"}
 *
 * Members that this version does not know are kept out of the way of those that it does: newer ones may be added.
 */

import type { SnapshotResult } from '../snapshot/snapshot.js'
import { decodeChecked, encodeChecked } from './checked-json.js'

const format = 1

/** What a capture has measured, as its result, its manifest and its frame tell it. */
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

/** Only these of what has more. */
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

/** What a manifest says. Sizes are in bytes, times in milliseconds; `fileSize` is of the file of the memory. */
export interface Manifest extends Measurements {
  readonly number: number
  readonly id: string
  /** Of the frame that it builds on; absent: it is full. */
  readonly parentId?: string
  readonly parentNumber?: number
  /** Milliseconds since the epoch, with fractions. */
  readonly frozenAtMs: number
  readonly sections: readonly { readonly name: string; readonly byteLength: number }[]
  /** How the file is compressed, as the caller wished; absent: not at all. */
  readonly compression?: { readonly codec: 'zstd'; readonly level: number }
  /** Absent: it has no objects. */
  readonly state?: { readonly fileSize: number; readonly crc32: string }
  /** The set that it was captured for. */
  readonly set?: string
  /** When a full file was made of its chain. */
  readonly compactedAtMs?: number
  /** When it was given up: it is listed no more, and its files go when nothing builds on them. */
  readonly retiredAtMs?: number
}

/** Of a frame whose file has become a full one, in the place of the delta. */
export function asCompacted(
  { parentId: _, parentNumber: __, ...rest }: Manifest,
  file: Pick<Manifest, 'fileSize' | 'allocatedBytes'>,
): Manifest {
  return { ...rest, ...file, compactedAtMs: Date.now() }
}

/** What the files of a frame take on the disk. */
export function diskBytesOf({ allocatedBytes, state }: Manifest): number {
  return allocatedBytes + (state?.fileSize ?? 0)
}

/** The text of a manifest. */
export function encodeManifest(manifest: Manifest): string {
  // The time is there for people too.
  const frozenAt = new Date(manifest.frozenAtMs).toISOString()
  return encodeChecked({ format, frozenAt, ...manifest })
}

/**
 * @param number - of the frame that it has to be of.
 * @throws Error with the reason why it cannot be believed.
 */
export function decodeManifest(text: string, number: number): Manifest {
  const { format: written, ...manifest } = decodeChecked(text) as Manifest & { format: unknown }
  if (written !== format) throw new Error(`it is of format ${written}, which this version cannot read`)
  if (manifest.number !== number) throw new Error(`it is the manifest of frame ${manifest.number}`)
  if (
    typeof manifest.id !== 'string' ||
    !Number.isFinite(manifest.frozenAtMs) ||
    !Array.isArray(manifest.sections)
  )
    throw new Error('it lacks what every manifest has')
  return manifest
}
