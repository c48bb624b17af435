/** What `restore()` tells to those who look on: `tracing:stillframe.restore:*`. */

import { type Traced, Tracer } from '../base/tracing.js'
import type { Restored } from './restore.js'

/**
 * Context of the events of `tracing:stillframe.restore:*`. `start` comes when the options have been
 * checked, `asyncStart` and `asyncEnd` when the memory is there or the restore has failed.
 */
export interface RestoreTrace extends Traced<Restored<unknown>> {
  /** Absolute. */
  path: string
}

/** @internal */
export const restores = new Tracer<RestoreTrace>('restore')
