/** What jobs in a forked copy tell to those who look on: `tracing:stillframe.heap:*`. */

import { loadHeapAddon } from '../addon/heap-addon.js'
import { type Traced, Tracer } from '../base/tracing.js'
import { type ForkJob, type ForkRequest, type ForkResult, forkJob } from './fork-job.js'

/**
 * Context of the events of `tracing:stillframe.heap:*`. `start` comes when the arguments have been
 * checked; from `end` on the rest is there, unless the call has failed. `asyncStart` and `asyncEnd`
 * come when `done` settles, before those who await it go on.
 */
export interface HeapTrace extends Traced<ForkResult> {
  /** The function that was called. */
  operation: 'writeHeapSnapshot' | 'writeHeapSummary' | 'snapshotState'
  /** Absolute. Empty if it goes to a stream. */
  path: string
  /** Milliseconds for which the call blocked, with the listeners of `start`. */
  pauseMs?: number
  /** Undefined if the process has not been frozen in the call, and will be later. */
  frozenAt?: Date | undefined
}

const jobs = new Tracer<HeapTrace>('heap')

/** @internal Starts a job, and tells of it. */
export function tracedForkJob(
  operation: HeapTrace['operation'],
  request: Omit<ForkRequest, 'addon'>,
): ForkJob {
  const { path, options } = request
  return jobs.call(
    () => ({ operation, path }),
    options.signal,
    (trace) => {
      const job = forkJob({ ...request, addon: loadHeapAddon(), trace })
      if (trace !== undefined) {
        trace.context.pauseMs = job.pauseMs
        trace.context.frozenAt = job.frozenAt
      }
      return job
    },
  )
}
