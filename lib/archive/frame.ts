/** A frame, as users see it. */

import type { FaultHandling } from '../addon/addon.js'
import type { SnapshotResult } from '../snapshot/snapshot.js'
import type { KnownEntry } from './frame-table.js'
import { measurementsOf } from './manifest.js'

/** One instant in an archive. Sizes are in bytes. */
export interface Frame {
  /** UUID, the same as `Snapshot.id` of the capture. */
  id: string
  /** From 1 on, in the order of the captures. No number is used a second time. */
  number: number
  /** The instant whose memory and objects it holds. */
  frozenAt: Date
  /** `'delta'`: its file holds only what differs from the frame that it builds on. */
  kind: 'full' | 'delta'
  parentId?: string
  /** The number of the frame that it builds on. */
  parentNumber?: number
  /** Of the memory that was captured. */
  byteLength: number
  /** Of the pages that are not as in the frame that it was captured upon. */
  changedBytes: number
  /** Bytes that were read to find them. */
  scannedBytes: number
  /** Length of the file of its memory, including holes. */
  fileSize: number
  /** What that file takes on the disk. */
  allocatedBytes: number
  engine: SnapshotResult['engine']
  faultHandling: FaultHandling
  pauseMs: number
  durationMs: number
  /** The most extra memory that copy-on-write took at any one time. */
  copiedBytesPeak: number
  sections: { name: string; byteLength: number }[]
  /** Whether JavaScript objects belong to it; see `state()` of what `restore()` returns. */
  hasState: boolean
  /** Length of the file of its objects. */
  stateSize?: number
  /** The set that it was captured for. */
  set?: string
  /** When a full file was made of the frame and all that it built on. */
  compactedAt?: Date
  /** Where it is. */
  places: ('directory' | 'store')[]
  /** Why it is not given up, in words: such as `'last 3'`, `'daily 2026-11-30'`, `'newest'`. */
  keptBecause: string[]
  /** Why it cannot be relied on; absent for a frame that nothing is known against. */
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
