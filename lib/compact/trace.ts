/** Tracing of `compact()`: the channels `tracing:stillframe.compact:*`. */

import { type Traced, Tracer } from '../base/tracing.js'
import type { SnapshotResult } from '../snapshot/snapshot.js'

/**
 * Context of the events of `tracing:stillframe.compact:*`. `start` is published when the options
 * have been checked, `asyncStart` and `asyncEnd` when the new file exists or the compaction has
 * failed.
 */
export interface CompactTrace extends Traced<SnapshotResult> {
  /** Absolute path of the newest frame of the chain. */
  path: string
  /** Absolute path of the file that is written. */
  to: string
}

/** @internal */
export const compactions = new Tracer<CompactTrace>('compact')
