/** What an archive tells to those who look on: `tracing:stillframe.capture:*` and `tracing:stillframe.prune:*`. */

import { channel } from 'node:diagnostics_channel'
import { type Traced, Tracer } from '../base/tracing.js'
import type { SnapshotTrace } from '../snapshot/trace.js'
import { type FrameTable, isKnown } from './frame-table.js'
import { diskBytesOf } from './manifest.js'
import type { StoreLag } from './replica-plan.js'

/** What an archive is when an operation on it has ended. */
export interface ArchiveNow {
  /** Directory of the archive, absolute; of one in a store alone, these words. */
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

/** What `tracing:stillframe.upload:*` tells of the outcome. */
export interface UploadOutcome {
  /** Of the objects of the frame, and of those that it needs and that were not in the store. */
  bytes: number
  /** Of the archive in the store, which has the frame from now on. */
  version: number
}

/** Context of the events of `tracing:stillframe.upload:*`: a frame is copied into a store. */
export interface UploadTrace extends Traced<UploadOutcome> {
  /** Directory of the archive, absolute; of one in a store alone, these words. */
  archive: string
  /** Of the frame, in the directory. */
  number: number
  /** Of the frame. */
  id: string
}

/** Message of the channel `stillframe.store.lag`: how far the store is behind, whenever that changes. */
export interface StoreLagMessage extends StoreLag {
  /** Directory of the archive, absolute; of one in a store alone, these words. */
  archive: string
}

/** @internal */
export const uploads = new Tracer<UploadTrace>('upload')
const lagChannel = channel('stillframe.store.lag')

/** @internal Without listeners it is not even found out. */
export function tellLag(archive: string, lagNow: () => StoreLag): void {
  if (lagChannel.hasSubscribers) lagChannel.publish({ archive, ...lagNow() } satisfies StoreLagMessage)
}

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
