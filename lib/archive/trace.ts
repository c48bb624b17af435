/**
 * Diagnostics channels of an archive: `tracing:stillframe.capture:*`, `tracing:stillframe.prune:*`,
 * `tracing:stillframe.upload:*` and `stillframe.store.lag`.
 */

import { channel } from 'node:diagnostics_channel'
import { type Traced, Tracer } from '../base/tracing.js'
import type { SnapshotTrace } from '../snapshot/trace.js'
import { type FrameTable, isKnown } from './frame-table.js'
import { diskBytesOf } from './manifest.js'
import type { StoreLag } from './replica-plan.js'

/** The archive as of the end of an operation on it. */
export interface ArchiveNow {
  /**
   * Absolute path of the directory, or `'the archive in the store'` if the archive is in a store
   * alone.
   */
  archive: string
  /** Number of frames. */
  frames?: number
  /** Disk space that all files of the archive occupy, in bytes. */
  bytes?: number
}

/**
 * Context of the events of `tracing:stillframe.capture:*`, for one frame with its memory and its
 * JavaScript objects. `start` is published after the options have been checked and before anything
 * else. `asyncStart` and `asyncEnd` are published when the frame is in the archive, or has failed.
 */
export interface CaptureTrace extends SnapshotTrace, ArchiveNow {
  /** Number of the frame. */
  number: number
}

/** Result in the events of `tracing:stillframe.prune:*`. */
export interface PruneOutcome {
  /** Number of frames that were kept, and number of frames that were pruned. */
  kept: number
  givenUp: number
  /** Disk space that was freed, in bytes. */
  freedBytes: number
}

/**
 * Context of the events of `tracing:stillframe.prune:*`: frames are pruned by `prune()`, or by the
 * archive itself after a capture. Dry runs are not reported.
 */
export interface PruneTrace extends Traced<PruneOutcome>, ArchiveNow {}

/** Result in the events of `tracing:stillframe.upload:*`. */
export interface UploadOutcome {
  /**
   * Size of the objects of the frame, and of those of its parents that were not in the store yet.
   */
  bytes: number
  /** First version of the archive in the store that has the frame. */
  version: number
}

/** Context of the events of `tracing:stillframe.upload:*`: a frame is copied to a store. */
export interface UploadTrace extends Traced<UploadOutcome> {
  /**
   * Absolute path of the directory, or `'the archive in the store'` if the archive is in a store
   * alone.
   */
  archive: string
  /** Number of the frame in the directory. */
  number: number
  /** Id of the frame. */
  id: string
}

/**
 * Message of the channel `stillframe.store.lag`: how far the store is behind, published whenever
 * that changes.
 */
export interface StoreLagMessage extends StoreLag {
  /**
   * Absolute path of the directory, or `'the archive in the store'` if the archive is in a store
   * alone.
   */
  archive: string
}

/** @internal */
export const uploads = new Tracer<UploadTrace>('upload')
const lagChannel = channel('stillframe.store.lag')

/** @internal Without subscribers, the lag is not even computed. */
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
