/**
 * The owner's view of a running capture: a promise, progress counters, and a way to end it early.
 *
 * A failure that nobody observes raises `unhandledRejection`, because a backup that fails silently
 * is worse than a crash. A failure counts as observed if `done` is awaited, if the progress is
 * being iterated over (the loop throws it), or if the caller aborted the capture or disposed of it.
 */

import { notify, ProgressClock } from '../base/progress.js'
import type { Trace, Traced } from '../base/tracing.js'

/** The native side of a running capture. */
export interface NativeCapture {
  abort(): void
}

/** The caller's abort signal and progress callback. */
export interface CaptureListeners<Progress> {
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: Progress) => void) | undefined
}

/** Receives the outcome of the capture. A failure reported here does not count as observed. */
export type JobTrace<Result> = Pick<Trace<Traced<Result>>, 'succeeded' | 'failed'>

export type CaptureState = 'running' | 'complete' | 'failed'

const ignore = (): void => {}

/** Base class of `Snapshot`, `Compaction` and `ForkJob`. */
export abstract class CaptureJob<Progress, Result> {
  /** Undefined after the end, so that native memory can be released. */
  #native: NativeCapture | undefined
  #listeners: CaptureListeners<Progress> = { signal: undefined, onProgress: undefined }
  #trace: JobTrace<Result> | undefined
  readonly #clock = new ProgressClock()

  readonly #done: Promise<Result>
  #resolve: (result: Result) => void = ignore
  #reject: (reason: unknown) => void = ignore
  /** True once `done` has been read: its reader observes a failure. */
  #doneWasTaken = false
  /** Number of iterations in progress. */
  #iterations = 0
  #abortion: { readonly reason: unknown } | undefined
  #failure: { readonly reason: unknown } | undefined

  protected constructor() {
    this.#done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** Current progress; after the end, the final progress. */
  abstract get progress(): Progress

  /**
   * Resolves when the file is complete, published under its name and (unless `durable` is false)
   * synced to disk. Rejects with a StillframeError, or with the abort reason; the previous file is
   * then unchanged, and nothing is left behind.
   */
  get done(): Promise<Result> {
    this.#doneWasTaken = true
    return this.#done
  }

  /**
   * Ends the capture early: `done` rejects with `reason`. If the call comes too late to prevent
   * publication, `done` resolves. Further calls, and calls after the end, do nothing.
   *
   * @param reason - default: a `DOMException` named `'AbortError'`.
   */
  abort(reason?: unknown): void {
    if (this.#native === undefined || this.#abortion !== undefined) return
    this.#abortion = { reason: reason === undefined ? abortError() : reason }
    // The caller caused this failure, so it counts as observed.
    this.#done.catch(ignore)
    this.#native.abort()
  }

  /**
   * Yields the progress immediately, then about every 100 ms, and once more when the capture is
   * complete. The iteration ends when `done` resolves; if `done` rejects, it throws the same
   * reason. A slow consumer skips values. Leaving the loop early does not abort the capture.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Progress, void, undefined> {
    let wake: () => void = ignore
    const tick = (): void => wake()
    let delivered = false
    this.#iterations++
    if (this.#native !== undefined) this.#clock.add(tick)
    try {
      while (this.#native !== undefined) {
        yield this.progress
        // If the job ended while the consumer was busy, no further tick will come.
        if (this.#native === undefined) break
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      delivered = true
      await this.#done
      yield this.progress
    } finally {
      this.#iterations--
      this.#clock.remove(tick)
      if (!delivered) this.#raiseUnseenFailure()
    }
  }

  /**
   * For `await using`: aborts the capture if it is still running, and waits for its end. Never
   * rejects.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.abort()
    await this.#done.then(ignore, ignore)
  }

  /** @internal */
  protected get state(): CaptureState {
    if (this.#native !== undefined) return 'running'
    return this.#failure === undefined ? 'complete' : 'failed'
  }

  /** @internal Marks the job as running and attaches the listeners. */
  protected begin(
    native: NativeCapture,
    listeners: CaptureListeners<Progress>,
    trace?: JobTrace<Result>,
  ): void {
    this.#native = native
    this.#listeners = listeners
    this.#trace = trace
    listeners.signal?.addEventListener('abort', this.#onAbort, { once: true })
    if (listeners.onProgress !== undefined) this.#clock.add(this.#onProgress)
  }

  /** @internal Continues the job with another native side. */
  protected goOn(native: NativeCapture): void {
    this.#native = native
  }

  /** @internal True if the caller has aborted the job. */
  protected get aborted(): boolean {
    return this.#abortion !== undefined
  }

  /** @internal Ends the job successfully. */
  protected complete(result: Result): void {
    this.#end()
    this.#clock.stop()
    this.#resolve(result)
    // Published after `resolve()`, so that nothing can come in between; code that awaits `done`
    // still runs later than the listeners.
    this.#trace?.succeeded(result)
    this.#trace = undefined
  }

  /** @internal Ends the job with a failure; an abort reason takes precedence. */
  protected fail(reason: unknown): void {
    this.#end()
    this.#failure = { reason: this.#abortion !== undefined ? this.#abortion.reason : reason }
    // A running iteration throws the failure, so `done` need not raise it a second time.
    if (this.#iterations > 0) this.#done.catch(ignore)
    this.#clock.stop()
    this.#reject(this.#failure.reason)
    this.#trace?.failed(this.#failure.reason, this.#abortion !== undefined)
    this.#trace = undefined
  }

  readonly #onAbort = (): void => this.abort(this.#listeners.signal?.reason)

  readonly #onProgress = (): void => {
    const { onProgress } = this.#listeners
    if (onProgress !== undefined && this.#failure === undefined) notify(onProgress, this.progress)
  }

  #end(): void {
    this.#native = undefined
    this.#listeners.signal?.removeEventListener('abort', this.#onAbort)
  }

  /**
   * Called when a consumer leaves its loop between the failure and the step that would have thrown
   * it. If nobody holds `done` either, the failure would go unnoticed: raise it as `done` would
   * have.
   */
  #raiseUnseenFailure(): void {
    if (this.#failure === undefined || this.#abortion !== undefined || this.#doneWasTaken) return
    void Promise.reject(this.#failure.reason)
  }
}

// Captured at import: no module exports it, and the service may have removed the global by the time
// it is needed.
const { DOMException } = globalThis

/** The default abort reason. */
export function abortError(): DOMException {
  return new DOMException('the snapshot was aborted', 'AbortError')
}
