/** Tracing of `snapshot()`: the channels `tracing:stillframe.snapshot:*`. */

import { type Traced, Tracer } from '../base/tracing.js'
import type { EngineName, FaultHandling } from '../machine/engines.js'
import type { SnapshotResult } from './snapshot.js'

/**
 * Context of the events of `tracing:stillframe.snapshot:*`. At `start`, only the options and the
 * path have been checked; from `end` on, the other properties are present if the memory has been
 * frozen. `asyncStart` and `asyncEnd` are published when `done` settles, before code that awaits it
 * continues.
 */
export interface SnapshotTrace extends Traced<SnapshotResult> {
  /** UUID of the snapshot. */
  id: string
  /** Absolute path of the file. */
  path: string
  engine?: EngineName
  faultHandling?: FaultHandling
  /** Names of the sections. */
  sections?: readonly string[]
  /** Bytes of memory in all sections. */
  byteLength?: number
  /** Milliseconds for which the call blocked, including the listeners of `start`. */
  pauseMs?: number
  frozenAt?: Date
}

/** @internal */
export const snapshots = new Tracer<SnapshotTrace>('snapshot')
