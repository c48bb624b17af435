/** Tracing of `restore()`: the channels `tracing:stillframe.restore:*`. */

import { type Traced, Tracer } from '../base/tracing.js'
import type { Restored } from './restore.js'

/**
 * Context of the events of `tracing:stillframe.restore:*`. `start` is published when the options
 * have been checked, `asyncStart` and `asyncEnd` when the memory is available or the restore has
 * failed.
 */
export interface RestoreTrace extends Traced<Restored<unknown>> {
  /** Absolute path of the file, or `'the archive in the store'`. */
  path: string
}

/** @internal */
export const restores = new Tracer<RestoreTrace>('restore')
