/** A frame, as the public API describes it. */

import type { FaultHandling } from '../addon/addon.js'
import type { SnapshotResult } from '../snapshot/snapshot.js'
import type { KnownEntry } from './frame-table.js'
import { measurementsOf } from './manifest.js'

/** One instant in an archive. Sizes are in bytes. */
export interface Frame {
  /** UUID, the same as `Snapshot.id` of the capture. */
  id: string
  /** Counts from 1, in order of capture. Numbers are never reused. */
  number: number
  /** The instant at which memory and objects were frozen. */
  frozenAt: Date
  /** `'delta'` if the file holds only the differences from the parent frame. */
  kind: 'full' | 'delta'
  parentId?: string
  /** Number of the parent frame. */
  parentNumber?: number
  /** Size of the captured memory. */
  byteLength: number
  /** Size of the pages that differ from the parent frame. */
  changedBytes: number
  /** Bytes that were read to find the changed pages. */
  scannedBytes: number
  /** Length of the memory file, including holes. */
  fileSize: number
  /** Disk space that the memory file occupies. */
  allocatedBytes: number
  engine: SnapshotResult['engine']
  faultHandling: FaultHandling
  pauseMs: number
  durationMs: number
  /** Peak of the extra memory that copy-on-write used. */
  copiedBytesPeak: number
  sections: { name: string; byteLength: number }[]
  /**
   * True if the frame has JavaScript objects; read them with `state()` of the result of
   * `restore()`.
   */
  hasState: boolean
  /** Length of the file with the JavaScript objects. */
  stateSize?: number
  /** The set that the frame was captured for. */
  set?: string
  /** When the frame and its parents were compacted into one full file. */
  compactedAt?: Date
  /** Where the frame is stored. */
  places: ('directory' | 'store')[]
  /** The reasons for keeping the frame, such as `'last 3'`, `'daily 2026-11-30'`, `'newest'`. */
  keptBecause: string[]
  /** Why the frame is unreliable; absent if no damage is known. */
  damage?: string
}

/** @internal */
export function toFrame(
  { number, manifest, damage }: KnownEntry,
  keptBecause: readonly string[],
  place: Frame['places'][number] = 'directory',
): Frame {
  const { id, parentId, parentNumber, frozenAtMs, sections, state, compactedAtMs, set } = manifest
  return {
    id,
    number,
    frozenAt: new Date(frozenAtMs),
    kind: parentId === undefined ? 'full' : 'delta',
    ...(parentId !== undefined && { parentId }),
    ...(parentId !== undefined && parentNumber !== undefined && { parentNumber }),
    ...measurementsOf(manifest),
    sections: sections.map((section) => ({ ...section })),
    hasState: state !== undefined,
    ...(state !== undefined && { stateSize: state.fileSize }),
    ...(set !== undefined && { set }),
    ...(compactedAtMs !== undefined && { compactedAt: new Date(compactedAtMs) }),
    places: [place],
    keptBecause: [...keptBecause],
    ...(damage !== undefined && { damage }),
  }
}
