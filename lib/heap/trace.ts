/** Publishes jobs in a forked copy on the diagnostics channels `tracing:stillframe.heap:*`. */

import { loadHeapAddon } from '../addon/heap-addon.js'
import { type Traced, Tracer } from '../base/tracing.js'
import { type ForkJob, type ForkRequest, type ForkResult, forkJob } from './fork-job.js'

/**
 * Context of the events of `tracing:stillframe.heap:*`. `start` is published when the arguments
 * have been checked. The optional members are set from `end` on, unless the call has failed.
 * `asyncStart` and `asyncEnd` are published when `done` settles, before code that awaits it
 * continues.
 */
export interface HeapTrace extends Traced<ForkResult> {
  /** The function that was called. */
  operation: 'writeHeapSnapshot' | 'writeHeapSummary' | 'snapshotState'
  /** Absolute path. Empty if the output goes to a stream. */
  path: string
  /** Milliseconds for which the call blocked, including the listeners of `start`. */
  pauseMs?: number
  /** Undefined if the process was not frozen during the call and will be later. */
  frozenAt?: Date | undefined
}

const jobs = new Tracer<HeapTrace>('heap')

/** @internal Starts a job and publishes its events. */
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
