/** What an archive tells to those who look on: `tracing:stillframe.capture:*` and `tracing:stillframe.prune:*`. */

import { type Traced, Tracer } from '../base/tracing.js'
import type { SnapshotTrace } from '../snapshot/trace.js'
import { type FrameTable, isKnown } from './frame-table.js'
import { diskBytesOf } from './manifest.js'

/** What an archive is when an operation on it has ended. */
export interface ArchiveNow {
  /** Directory of the archive, absolute. */
  archive: string
  /** How many frames it has. */
  frames?: number
  /** Bytes that all of its files take on the disk. */
  bytes?: number
}

/**
 * Context of the events of `tracing:stillframe.capture:*`: one frame, with its memory and its objects. `start` comes
 * before anything is looked at but the options; `asyncStart` and `asyncEnd` when the frame is in the archive, or will not
 * be.
 */
export interface CaptureTrace extends SnapshotTrace, ArchiveNow {
  /** Of the frame. */
  number: number
}

/** What `tracing:stillframe.prune:*` tells of the outcome. */
export interface PruneOutcome {
  /** How many frames are kept, and how many were given up. */
  kept: number
  givenUp: number
  /** Bytes of the disk that have been set free. */
  freedBytes: number
}

/**
 * Context of the events of `tracing:stillframe.prune:*`: frames are given up, by `prune()` or by the archive itself after
 * a capture. Dry runs are not told.
 */
export interface PruneTrace extends Traced<PruneOutcome>, ArchiveNow {}

/** @internal */
export const captures = new Tracer<CaptureTrace>('capture')
/** @internal */
export const prunes = new Tracer<PruneTrace>('prune')

/** @internal */
export function tellArchive(context: ArchiveNow, table: FrameTable): void {
  context.frames = table.listed().length
  context.bytes = table
    .all()
    .filter(isKnown)
    .reduce((sum, { manifest }) => sum + diskBytesOf(manifest), 0)
}
