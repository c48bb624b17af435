/**
 * What every running capture is to its owner: a promise, counters to look at, and a way to end it
 * early.
 *
 * A failure raises `unhandledRejection` if nobody looks at it: a backup that fails in silence is
 * worse than a crash. A failure counts as looked at if `done` is awaited, if the progress is being
 * iterated over (the loop throws it), and if the caller aborted the capture or disposed of it.
 */

import { notify, ProgressClock } from '../base/progress.js'
import type { Trace, Traced } from '../base/tracing.js'

/** The native side, until the end. */
export interface NativeCapture {
  abort(): void
}

/** What the caller wants to hear, and how it may abort. */
export interface CaptureListeners<Progress> {
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: Progress) => void) | undefined
}

/** Hears how the capture ends. Hearing of a failure there is not looking at it. */
export type JobTrace<Result> = Pick<Trace<Traced<Result>>, 'succeeded' | 'failed'>

/** How a capture is doing. */
export type CaptureState = 'running' | 'complete' | 'failed'

const ignore = (): void => {}

/** Base of `Snapshot` and `ForkJob`. */
export abstract class CaptureJob<Progress, Result> {
  /** Undefined after the end, so that native memory can go. */
  #native: NativeCapture | undefined
  #listeners: CaptureListeners<Progress> = { signal: undefined, onProgress: undefined }
  #trace: JobTrace<Result> | undefined
  readonly #clock = new ProgressClock()

  readonly #done: Promise<Result>
  #resolve: (result: Result) => void = ignore
  #reject: (reason: unknown) => void = ignore
  /** Whether somebody has asked for `done`, and will hear of a failure there. */
  #doneWasTaken = false
  /** How many iterations have begun and not ended. */
  #iterations = 0
  #abortion: { readonly reason: unknown } | undefined
  #failure: { readonly reason: unknown } | undefined

  protected constructor() {
    this.#done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  /** How far the job has come; after its end, how far it came. */
  abstract get progress(): Progress

  /**
   * Resolves when the file is complete, published under its name and (unless `durable` is false)
   * synced to disk. Rejects with a StillframeError, or with the reason of the abort; the previous
   * file is then as it was, and nothing is left behind.
   */
  get done(): Promise<Result> {
    this.#doneWasTaken = true
    return this.#done
  }

  /**
   * Ends the capture early: `done` rejects with `reason`. If it comes too late to stop the file
   * from being published, `done` resolves. Calling it again, or after the end, does nothing.
   *
   * @param reason - default: a `DOMException` named `'AbortError'`.
   */
  abort(reason?: unknown): void {
    if (this.#native === undefined || this.#abortion !== undefined) return
    this.#abortion = { reason: reason === undefined ? abortError() : reason }
    // A caller that aborts knows how it ends.
    this.#done.catch(ignore)
    this.#native.abort()
  }

  /**
   * Yields the progress: at once, then about every 100 ms, and a last time when the capture is
   * complete. The iteration ends when `done` resolves, and throws what `done` rejects with. A slow
   * consumer skips values. Leaving the loop early does not abort the capture.
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
        // The job may have ended while the consumer was busy: no tick would then come any more.
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
   * For `await using`: aborts the capture if it is still running, and waits for its end. It never
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

  /** @internal The job is under way. */
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

  /** @internal The job goes on with another native side. */
  protected goOn(native: NativeCapture): void {
    this.#native = native
  }

  /** @internal True if the caller has aborted the job. */
  protected get aborted(): boolean {
    return this.#abortion !== undefined
  }

  /** @internal Ends the job when it went well. */
  protected complete(result: Result): void {
    this.#end()
    this.#clock.stop()
    this.#resolve(result)
    // After it, so that nothing can come between; whoever awaits `done` runs later all the same.
    this.#trace?.succeeded(result)
    this.#trace = undefined
  }

  /** @internal Ends the job when it failed; the reason of an abort takes precedence. */
  protected fail(reason: unknown): void {
    this.#end()
    this.#failure = { reason: this.#abortion !== undefined ? this.#abortion.reason : reason }
    // An iteration that is under way throws the failure: `done` need not raise it a second time.
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
   * A consumer left its loop between the failure and the step that would have thrown it. If nobody
   * holds `done` either, nobody would ever hear of the failure: raise it as `done` would have.
   */
  #raiseUnseenFailure(): void {
    if (this.#failure === undefined || this.#abortion !== undefined || this.#doneWasTaken) return
    void Promise.reject(this.#failure.reason)
  }
}

// Taken now: no module exports it, and the service may have removed the global when it is needed.
const { DOMException } = globalThis

/** What `done` rejects with if nobody has given a reason. */
export function abortError(): DOMException {
  return new DOMException('the snapshot was aborted', 'AbortError')
}
