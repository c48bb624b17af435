/** Runs a native read job (such as inspect, verify or restore) as a promise. */

import { AsyncResource } from 'node:async_hooks'
import type { ReadJob } from '../addon/addon.js'
import { type CallSite, fromNative } from '../base/errors.js'
import { notify, ProgressClock, type ReadProgress } from '../base/progress.js'

/** Receives the report of native code, or an error that explains it better. */
export type JobCallback<Value> = (failure: Error | null, value?: Value) => void

/**
 * Arguments of {@link runJob}. All members are always present: a missing one would be looked up in
 * Object.prototype.
 */
export interface JobRequest<Value> {
  /** Absolute, or `'the archive in the store'`; for error messages. */
  readonly path: string
  /** Call site of the operation in the caller's code. */
  readonly callSite: CallSite
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: ReadProgress) => void) | undefined
  /** Starts the job. Its callback is called once, later, on this thread. */
  start(callback: JobCallback<Value>): ReadJob
  /** Disposes of a value that arrives after the signal was aborted. */
  readonly discard: ((value: Value) => void) | undefined
}

/**
 * Runs a job to its end.
 *
 * @returns the value that the job delivers; rejects with a StillframeError, or with the signal's
 *   reason.
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
      // Only a successful job reports its final progress.
      if (failure !== null || signal?.aborted) clock.remove(report)
      clock.stop()
      // After an abort the caller gets the abort reason, whatever the outcome of the job.
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
      // onEnd makes the last call to onProgress, which belongs to the caller's async context.
      job = request.start(AsyncResource.bind(onEnd))
    } catch (error) {
      reject(fromNative(error, path, callSite))
      return
    }
    signal?.addEventListener('abort', cancel, { once: true })
    if (onProgress !== undefined) clock.add(report)
  })
}
