/** A forked copy of the process at work: everything up to the fork happens in the call. */

import { performance } from 'node:perf_hooks'
import { inspect } from 'node:util'
import type { NativeFailure } from '../addon.js'
import { abortError, CaptureJob } from '../capture-job.js'
import { type CallSite, fromNative, isNativeFailure, StillframeError } from '../errors.js'
import { loadAddon } from '../load.js'
import type { HeapAddon, HeapJobHandle, HeapPlan, NativeHeapResult, PauseParts } from './addon.js'
import { deserializeThrown } from './in-copy.js'
import type { CheckedForkOptions, ForkProgress } from './options.js'

/** What {@link ForkJob.done} resolves to: the file is complete and published. */
export interface ForkResult {
  /** Absolute. */
  path: string
  /** Bytes of the file. */
  fileSize: number
  pauseMs: number
  /** Where the pause went. */
  pause: PauseParts
  /** From the fork to the published file. */
  durationMs: number
  /** Most memory in bytes, at any one time that was looked at, that only the copy had. */
  copiedBytesPeak: number
  /** More than 1 when earlier copies hung or died and another one was made; the file is of that later instant. */
  attempts: number
  /** The instant that the file is of. */
  frozenAt: Date
}

/** A job that only has to be begun. */
export interface ForkRequest {
  /** `performance.now()` on entry: the pause begins here. */
  readonly calledAt: number
  readonly addon: HeapAddon
  readonly path: string
  readonly options: CheckedForkOptions
  readonly run: HeapPlan['run']
  readonly callSite: CallSite
  /** The exported function that was called. */
  readonly entry: (...args: never[]) => unknown
}

/** What cannot be proved is tried once more. */
const maxAttempts = 2
/** A copy that needs a lock which some other thread held just then notices it soon: it is cheap to try again. */
const maxAttemptsForLocks = 6
const worthAnotherTry = new Set(['STALLED', 'CHILD_DIED'])

let startForkJob: (request: ForkRequest) => ForkJob

/** @internal */
export function forkJob(request: ForkRequest): ForkJob {
  if (request.options.signal?.aborted) throw request.options.signal.reason
  try {
    return startForkJob(request)
  } catch (error) {
    throw fromNative(error, request.path, request.entry)
  }
}

/** A running or finished job in a forked copy of the process. */
export class ForkJob extends CaptureJob<ForkProgress, ForkResult> {
  /** Absolute. */
  readonly path: string

  readonly #request: ForkRequest
  #handle: HeapJobHandle
  #attempts = 1
  #pauseMs: number
  readonly #counters = new Float64Array(4)

  static {
    startForkJob = (request) => new ForkJob(request)
  }

  private constructor(request: ForkRequest) {
    if (request?.calledAt === undefined)
      throw new TypeError('ForkJob has no public constructor: use writeHeapSnapshot() or snapshotState()')
    super()
    this.#request = request
    this.path = request.path
    this.#handle = this.#fork()
    this.begin({ abort: () => this.#handle.abort() }, request.options)
    this.#pauseMs = performance.now() - request.calledAt
  }

  /** Milliseconds that this thread was blocked, from the first line of the call to its last. */
  get pauseMs(): number {
    return this.#pauseMs
  }

  /** Of the forked copy. */
  get pid(): number {
    return this.#handle.pid
  }

  /** How far it is just now; after the end, how far it came. */
  get progress(): ForkProgress {
    this.#handle.progress(this.#counters)
    const [bytesWritten = 0, stepsDone = 0, stepsTotal = 0, copiedBytes = 0] = this.#counters
    return { bytesWritten, stepsDone, stepsTotal, copiedBytes }
  }

  /** @internal */
  [inspect.custom](_depth: number, options: object): string {
    const { path, pid, pauseMs, state, progress } = this
    return `ForkJob ${inspect({ path, pid, pauseMs, state, progress }, options)}`
  }

  #fork(): HeapJobHandle {
    const { addon, path, options, run } = this.#request
    const { overwrite, mode, durable, memoryLimit, stallTimeoutMs, timeoutMs, nice } = options
    const plan = { path, overwrite, mode, durable, memoryLimit, stallTimeoutMs, timeoutMs, nice, run }
    // Regions may be larger than all else together: saving them is what snapshot() is for.
    const { flipLock, regionRanges } = loadAddon()
    return new addon.HeapJob({ ...plan, flipLock, keepOut: regionRanges() }, (failure, result) =>
      this.#end(failure, result),
    )
  }

  /** Called once by native code for each attempt. */
  #end(failure: NativeFailure | null, result?: NativeHeapResult): void {
    const { frozenAtMs, times } = this.#handle
    if (result !== undefined && failure === null) {
      this.complete({
        path: this.path,
        fileSize: result.fileSize,
        pauseMs: this.#pauseMs,
        pause: times,
        durationMs: result.durationMs,
        copiedBytesPeak: result.childBytesPeak,
        attempts: this.#attempts,
        frozenAt: new Date(frozenAtMs),
      })
      return
    }
    if (failure === null || !this.#tryAgain(failure)) this.fail(this.#reasonOf(failure))
  }

  #tryAgain(failure: NativeFailure): boolean {
    const { heldLock, outOfTime } = this.#handle
    const limit = heldLock ? maxAttemptsForLocks : maxAttempts
    if (this.aborted || outOfTime || this.#attempts >= limit || !worthAnotherTry.has(failure.failure)) {
      return false
    }
    this.#attempts++
    const startedAt = performance.now()
    try {
      this.#handle = this.#fork()
    } catch {
      // The first failure says more than that the second could not begin.
      return false
    }
    this.#pauseMs = Math.max(this.#pauseMs, performance.now() - startedAt)
    return true
  }

  #reasonOf(failure: NativeFailure | null): unknown {
    const { path, callSite } = this.#request
    if (failure?.failure === 'ABORTED') return abortError()
    if (failure === null || !isNativeFailure(failure) || failure.failure !== 'CALLBACK') {
      return fromNative(failure, path, callSite)
    }
    const thrown = this.#handle.failure()
    // What ends the copy on the spot has no error to send.
    if (thrown.length === 0) return fromNative(failure, path, callSite)
    const cause = deserializeThrown(thrown)
    const what = cause instanceof Error ? cause.message : inspect(cause)
    const error = new StillframeError('ERR_STILLFRAME_CALLBACK', `${path}: the callback threw: ${what}`, {
      path,
      cause,
    })
    callSite.claim(error)
    return error
  }
}
