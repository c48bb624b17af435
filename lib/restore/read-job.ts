/** One running read job of native code (inspect, verify, restore) as a promise. */

import { AsyncResource } from 'node:async_hooks'
import type { ReadJob } from '../addon/addon.js'
import { type CallSite, fromNative } from '../base/errors.js'
import { notify, ProgressClock, type ReadProgress } from '../base/progress.js'

/** Gets what native code reports, or an error that explains it better. */
export type JobCallback<Value> = (failure: Error | null, value?: Value) => void

/**
 * What {@link runJob} needs to know. All members are always present: a missing one would be looked
 * up in Object.prototype.
 */
export interface JobRequest<Value> {
  /** Absolute; for errors. */
  readonly path: string
  /** Where the caller called from. */
  readonly callSite: CallSite
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: ReadProgress) => void) | undefined
  /** Starts the job. Its callback is called once, later, on this thread. */
  start(callback: JobCallback<Value>): ReadJob
  /** Gives up a value that arrives after the signal was aborted. */
  readonly discard: ((value: Value) => void) | undefined
}

/**
 * Runs a job to its end.
 *
 * @returns what the job delivers; rejects with a StillframeError, or with the signal's reason.
 */
export function runJob<Value>(request: JobRequest<Value>): Promise<Value> {
  const { path, callSite, signal, onProgress } = request
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason)
      return
    }
    const clock = new ProgressClock()
    const cancel = (): void => job.cancel()
    const counters = new Float64Array(2)
    const report = (): void => {
      job.progress(counters)
      if (onProgress) notify(onProgress, { bytesDone: counters[0] ?? 0, bytesTotal: counters[1] ?? 0 })
    }
    const onEnd: JobCallback<Value> = (failure, value) => {
      signal?.removeEventListener('abort', cancel)
      // Only a job that went well has a last word on its progress.
      if (failure !== null || signal?.aborted) clock.remove(report)
      clock.stop()
      // An aborted caller has moved on: whatever came of the job, it hears the reason of the abort.
      if (signal?.aborted) {
        if (failure === null) request.discard?.(value as Value)
        reject(signal.reason)
      } else if (failure !== null) {
        reject(fromNative(failure, path, callSite))
      } else {
        resolve(value as Value)
      }
    }

    let job: ReadJob
    try {
      // onProgress is called a last time from there, and belongs to the caller's async context.
      job = request.start(AsyncResource.bind(onEnd))
    } catch (error) {
      reject(fromNative(error, path, callSite))
      return
    }
    signal?.addEventListener('abort', cancel, { once: true })
    if (onProgress !== undefined) clock.add(report)
  })
}
