/** What `compact()` tells to those who look on: `tracing:stillframe.compact:*`. */

import { type Traced, Tracer } from '../base/tracing.js'
import type { SnapshotResult } from '../snapshot/snapshot.js'

/**
 * Context of the events of `tracing:stillframe.compact:*`. `start` comes when the options have been
 * checked, `asyncStart` and `asyncEnd` when the new file is there or the compaction has failed.
 */
export interface CompactTrace extends Traced<SnapshotResult> {
  /** Absolute: the newest frame of the chain. */
  path: string
  /** Absolute: the file that is written. */
  to: string
}

/** @internal */
export const compactions = new Tracer<CompactTrace>('compact')
