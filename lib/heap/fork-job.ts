/**
 * A job in a forked copy of the process. Everything up to the fork happens during the call, unless
 * V8's threads are not at rest. The service's thread never blocks to wait for them: the call
 * returns, and a timer tries the fork again.
 */

import { AsyncResource } from 'node:async_hooks'
import { performance } from 'node:perf_hooks'
import type { Writable } from 'node:stream'
import { clearTimeout, setTimeout } from 'node:timers'
import { inspect } from 'node:util'
import type {
  ForkJobHandle,
  ForkPlan,
  HeapAddon,
  NativeForkResult,
  PauseParts,
  SummaryPlan,
} from '../addon/heap-addon.js'
import {
  type CallSite,
  fromNative,
  invalidArgValue,
  isError,
  isNativeFailure,
  StillframeError,
} from '../base/errors.js'
import type { NativeFailure } from '../base/native-failure.js'
import { abortError, CaptureJob, type JobTrace } from '../snapshot/capture-job.js'
import { deserializeThrown } from './in-copy.js'
import type { CheckedForkOptions, ForkProgress } from './options.js'
import { StreamTarget } from './stream-target.js'

/** Result of {@link ForkJob.done}. The file is then complete and published. */
export interface ForkResult {
  /** Absolute path. Empty if the output went to a stream. */
  path: string
  /** Length of the file, or of the output to the stream, in bytes. */
  fileSize: number
  /** Bytes that the file takes on disk. */
  allocatedBytes: number
  /**
   * The longest time, in milliseconds, for which the service's thread was blocked without a break:
   * by the call, or by a later attempt.
   */
  pauseMs: number
  /** Parts of the pause of the last attempt. */
  pause: PauseParts
  /** Milliseconds from the fork to the published file. */
  durationMs: number
  /** Peak of the memory that only the copy had, in bytes. */
  copiedBytesPeak: number
  /**
   * Number of attempts to freeze the process. It is more than 1 if V8's threads were not at rest at
   * the call, or if copies hung or died and were replaced: the file then shows the later instant
   * `frozenAt`.
   */
  attempts: number
  /** The instant whose state is in the file. */
  frozenAt: Date
}

/** A job that is ready to start. */
export interface ForkRequest {
  /** `performance.now()` on entry, where the pause begins. */
  readonly calledAt: number
  readonly addon: HeapAddon
  /** Absolute path. Empty if the output goes to a stream. */
  readonly path: string
  readonly stream?: Writable | undefined
  readonly options: CheckedForkOptions
  readonly run: ForkPlan['run']
  /** Set for heap summaries only. */
  readonly summary?: SummaryPlan
  readonly callSite: CallSite
  /** The exported function that was called. */
  readonly entry: (...args: never[]) => unknown
  /** Undefined if the tracing channels have no subscribers. */
  readonly trace?: JobTrace<ForkResult> | undefined
}

/** A failure whose cause cannot be proved leads to one more attempt. */
const maxAttempts = 2
/**
 * A copy that needs a lock which another thread held at the fork notices it soon, so another
 * attempt is cheap.
 */
const maxAttemptsForLocks = 6
const worthAnotherTry = new Set(['STALLED', 'CHILD_DIED'])
/**
 * Milliseconds between attempts to find V8's threads at rest. Each attempt blocks for a few
 * milliseconds at most.
 */
const restIntervalMs = 50

const notLoaded =
  'options.worker has not loaded stillframe/heap: import it there, or start the process with ' +
  "'--import stillframe/heap/signal', which Workers inherit"

let startForkJob: (request: ForkRequest) => ForkJob

/** @internal */
export function forkJob(request: ForkRequest): ForkJob {
  if (request.options.signal?.aborted) throw request.options.signal.reason
  try {
    return startForkJob(request)
  } catch (error) {
    if (isNativeFailure(error) && error.failure === 'CLOSED') throw invalidArgValue(notLoaded)
    throw fromNative(error, request.path || undefined, request.entry)
  }
}

/** A running or finished job in a forked copy of the process. */
export class ForkJob extends CaptureJob<ForkProgress, ForkResult> {
  /** Absolute path. Empty for a job that writes to a stream. */
  readonly path: string

  readonly #request: ForkRequest
  /** Undefined while the job waits for V8's threads to rest. */
  #handle: ForkJobHandle | undefined
  #waiting: NodeJS.Timeout | undefined
  /** Timer that is set until a Worker has been reached. */
  #reaching: NodeJS.Timeout | undefined
  /** The `performance.now()` after which the job no longer waits for V8's threads. */
  #waitEnd = 0
  #attempts = 0
  /** Number of attempts that made a copy. */
  #copies = 0
  #pauseMs = 0
  readonly #counters = new Float64Array(4)
  readonly #stream: StreamTarget | undefined
  /** Why the job was aborted, if not by the caller. */
  #cause: { readonly reason: unknown } | undefined
  /** The caller's callbacks run later, and must run in the caller's async context. */
  readonly #inContext = new AsyncResource('StillframeForkJob')

  static {
    startForkJob = (request) => new ForkJob(request)
  }

  private constructor(request: ForkRequest) {
    if (request?.calledAt === undefined)
      throw new TypeError('ForkJob has no public constructor: use writeHeapSnapshot() or snapshotState()')
    super()
    this.#request = request
    this.path = request.path
    this.#stream = request.stream && new StreamTarget(request.stream)
    this.#freeze(request.calledAt)
    this.begin({ abort: () => this.#abort() }, request.options, request.trace)
    this.#pauseMs = performance.now() - request.calledAt
  }

  /**
   * Milliseconds for which the call blocked this thread, from its first line to its last, or for
   * which a later attempt did, if that took longer.
   */
  get pauseMs(): number {
    return this.#pauseMs
  }

  /** Process id of the forked copy; 0 before there is one. */
  get pid(): number {
    return this.#handle?.pid ?? 0
  }

  /**
   * The instant whose state the copy holds. Undefined while the process has not been frozen yet:
   * V8's threads were not at rest during the call, or the heap of a Worker was requested.
   */
  get frozenAt(): Date | undefined {
    const { frozenAtMs = 0 } = this.#handle ?? {}
    return frozenAtMs === 0 ? undefined : new Date(frozenAtMs)
  }

  /** Current progress of the job; its final progress once it has ended. */
  get progress(): ForkProgress {
    this.#handle?.progress(this.#counters)
    const [bytesWritten = 0, stepsDone = 0, stepsTotal = 0, copiedBytes = 0] = this.#counters
    return { bytesWritten, stepsDone, stepsTotal, copiedBytes }
  }

  /** @internal */
  [inspect.custom](_depth: number, options: object): string {
    const { path, pid, pauseMs, frozenAt, state, progress } = this
    return `ForkJob ${inspect({ path, pid, pauseMs, frozenAt, state, progress }, options)}`
  }

  /** Makes a copy, or schedules another attempt. Throws any other failure of the attempt. */
  #freeze(startedAt: number): void {
    this.#attempts++
    try {
      this.#handle = this.#fork()
      this.#copies++
    } catch (error) {
      if (!isNativeFailure(error) || error.failure !== 'NOT_AT_REST') throw error
      this.#handle = undefined
      this.#waitForRest(startedAt)
    }
    this.#pauseMs = Math.max(this.#pauseMs, performance.now() - startedAt)
  }

  #fork(): ForkJobHandle {
    const { addon, path, options, run, summary } = this.#request
    const { file, pacing, limits, stableIds, redact, thread } = options
    const toStream = this.#stream !== undefined
    const target = { path, ...file }
    const plan = { target, toStream, thread, pacing, limits, stableIds, redact, run, summary }
    const handle = new addon.ForkJob(plan, (failure, result) =>
      this.#inContext.runInAsyncScope(() => this.#end(failure, result)),
    )
    this.#stream?.begin(handle.takeStream(), (reason) => {
      this.#cause ??= { reason }
      handle.abort()
    })
    if (thread !== 0) this.#waitForWorker(handle)
    return handle
  }

  /**
   * Limits the wait for a Worker. It is reached at once, unless it is blocked outside of
   * JavaScript.
   */
  #waitForWorker(handle: ForkJobHandle): void {
    const { stallTimeoutMs } = this.#request.options.limits
    this.#reaching = setTimeout(() => {
      if (handle.frozenAtMs !== 0) return
      const error = new StillframeError(
        'ERR_STILLFRAME_BUSY',
        `${this.#name}: the Worker could not be interrupted within ${stallTimeoutMs} ms: it is blocked in a ` +
          'call such as execSync(). Try again when that call has returned',
        {},
      )
      this.#request.callSite.claim(error)
      this.#cause ??= { reason: error }
      handle.abort()
    }, stallTimeoutMs)
  }

  get #name(): string {
    return this.path || 'a heap snapshot'
  }

  #waitForRest(startedAt: number): void {
    const { retry, limits } = this.#request.options
    if (!retry) throw this.#busy('during the call, and retry is false')
    const patienceMs = Math.min(limits.stallTimeoutMs, limits.timeoutMs)
    if (this.#waitEnd === 0) this.#waitEnd = startedAt + patienceMs
    if (performance.now() > this.#waitEnd) throw this.#busy(`within ${patienceMs} ms`)
    this.#waiting = this.#inContext.runInAsyncScope(() =>
      setTimeout(() => this.#freezeLater(), restIntervalMs),
    )
  }

  #busy(when: string): StillframeError {
    const error = new StillframeError(
      'ERR_STILLFRAME_BUSY',
      `${this.#name}: V8's threads, which compile and collect garbage, did not come to rest ${when}; none of ` +
        'them may be working while the process is forked. Try again when the service is less busy',
      this.path === '' ? {} : { path: this.path },
    )
    this.#request.callSite.claim(error)
    return error
  }

  /** Called from a timer. */
  #freezeLater(): void {
    this.#waiting = undefined
    try {
      this.#freeze(performance.now())
    } catch (error) {
      this.#fail(fromNative(error, this.path || undefined, this.#request.callSite))
    }
  }

  #fail(reason: unknown): void {
    this.#stream?.fail(reason)
    this.fail(reason)
  }

  #abort(): void {
    if (this.#waiting === undefined) {
      this.#handle?.abort()
      return
    }
    clearTimeout(this.#waiting)
    this.#waiting = undefined
    this.#fail(abortError())
  }

  /** Called by native code once per copy. */
  #end(failure: NativeFailure | null, result?: NativeForkResult): void {
    const handle = this.#handle
    if (handle === undefined) return
    clearTimeout(this.#reaching)
    if (result !== undefined && failure === null) {
      const whole = this.#resultOf(handle, result)
      if (this.#stream === undefined) {
        this.complete(whole)
        return
      }
      this.#stream.finish().then(
        () => this.complete(whole),
        (reason: unknown) => this.fail(reason),
      )
      return
    }
    if (failure?.failure === 'NOT_AT_REST' && !this.aborted) {
      this.#waitLonger()
      return
    }
    if (failure !== null && this.#tryAgain(failure, handle)) return
    this.#fail(this.#cause === undefined ? this.#reasonOf(failure, handle) : this.#cause.reason)
  }

  /**
   * Handles V8's threads not being at rest in a Worker. Its heap is frozen after the call, so the
   * failure is reported at the end of a job instead of being thrown.
   */
  #waitLonger(): void {
    this.#handle = undefined
    this.#copies--
    try {
      this.#waitForRest(performance.now())
    } catch (error) {
      this.#fail(error)
    }
  }

  #resultOf(handle: ForkJobHandle, result: NativeForkResult): ForkResult {
    const pause = handle.times
    // The pause of a Worker is not measured here, so it is the sum of its parts.
    if (this.#request.options.thread !== 0) {
      const sum = Object.values(pause).reduce((sofar, part) => sofar + part, 0)
      this.#pauseMs = Math.max(this.#pauseMs, sum)
    }
    return {
      path: this.path,
      fileSize: result.fileSize,
      allocatedBytes: result.allocatedBytes,
      pauseMs: this.#pauseMs,
      pause,
      durationMs: result.durationMs,
      copiedBytesPeak: result.childBytesPeak,
      attempts: this.#attempts,
      frozenAt: new Date(handle.frozenAtMs),
    }
  }

  #tryAgain(failure: NativeFailure, { heldLock, outOfTime }: ForkJobHandle): boolean {
    const limit = heldLock ? maxAttemptsForLocks : maxAttempts
    const { retry } = this.#request.options
    if (
      !retry ||
      this.aborted ||
      outOfTime ||
      // A stream cannot be restarted.
      (this.#stream !== undefined && this.progress.bytesWritten > 0) ||
      this.#copies >= limit ||
      !worthAnotherTry.has(failure.failure)
    ) {
      return false
    }
    try {
      this.#waitEnd = 0
      this.#freeze(performance.now())
    } catch {
      // The first failure says more than the failure to start a second attempt.
      return false
    }
    return true
  }

  #reasonOf(failure: NativeFailure | null, handle: ForkJobHandle): unknown {
    const { path, callSite } = this.#request
    if (failure?.failure === 'ABORTED') return abortError()
    if (failure === null || !isNativeFailure(failure) || failure.failure !== 'CALLBACK') {
      return fromNative(failure, path || undefined, callSite)
    }
    const thrown = handle.failure()
    // If something ends the copy abruptly, there is no error to send.
    if (thrown.length === 0) return fromNative(failure, path, callSite)
    const cause = deserializeThrown(thrown)
    const what = isError(cause) ? cause.message : inspect(cause)
    const error = new StillframeError('ERR_STILLFRAME_CALLBACK', `${path}: the callback threw: ${what}`, {
      path,
      cause,
    })
    callSite.claim(error)
    return error
  }
}
