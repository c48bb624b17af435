/** What `snapshot()` tells to those who look on: `tracing:stillframe.snapshot:*`. */

import { type Traced, Tracer } from '../base/tracing.js'
import type { EngineName, FaultHandling } from '../machine/engines.js'
import type { SnapshotResult } from './snapshot.js'

/**
 * Context of the events of `tracing:stillframe.snapshot:*`. `start` comes before anything has been
 * looked at but the options and the path; from `end` on the rest is there, if the memory has been
 * frozen. `asyncStart` and `asyncEnd` come when `done` settles, before those who await it go on.
 */
export interface SnapshotTrace extends Traced<SnapshotResult> {
  /** UUID of the snapshot. */
  id: string
  /** Absolute. */
  path: string
  engine?: EngineName
  faultHandling?: FaultHandling
  /** Names of the sections. */
  sections?: readonly string[]
  /** Bytes of memory in all sections. */
  byteLength?: number
  /** Milliseconds for which the call blocked, with the listeners of `start`. */
  pauseMs?: number
  frozenAt?: Date
}

/** @internal */
export const snapshots = new Tracer<SnapshotTrace>('snapshot')
