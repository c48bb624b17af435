/** Captures frames periodically, and earlier when much memory has been written. */

import { AsyncResource } from 'node:async_hooks'
import process from 'node:process'
import { clearInterval, clearTimeout, setInterval, setTimeout } from 'node:timers'
import { setTimeout as delay } from 'node:timers/promises'
import { inspect } from 'node:util'
import { messageOf, StillframeError } from '../base/errors.js'
import { notify } from '../base/progress.js'
import { checkBoolean, checkOptions, optionalInteger } from '../base/validate.js'
import { isRegion, writtenBytes } from '../region/region.js'
import type { Source } from '../region/source.js'
import { abortError } from '../snapshot/capture-job.js'
import type { Snapshot } from '../snapshot/snapshot.js'
import type { Frame } from './frame.js'

/** Memory to capture, or a function that returns it for each frame. */
export type ScheduledSources = Source | Record<string, Source> | (() => Source | Record<string, Source>)

/** Options of `schedule.stop()`. */
export interface StopOptions {
  /** True (default) to finish the capture in progress, false to abort it. */
  finish?: boolean | undefined
  /**
   * Time limit for finishing, in milliseconds, an integer >= 0; then the capture is aborted.
   * Default: no limit.
   */
  withinMs?: number | undefined
}

/** @internal */
export interface ScheduleRequest {
  readonly sources: ScheduledSources
  readonly everyMs: number
  readonly orChangedBytes: number | undefined
  readonly signal: AbortSignal | undefined
  readonly onFrame: ((frame: Frame) => void) | undefined
  readonly onError: ((error: unknown) => void) | undefined
  capture(sources: Source | Record<string, Source>): Snapshot
  frameOf(snapshot: Snapshot): Frame
  /** Called when a tick is skipped. */
  onSkipped(): void
  /** Called when the schedule has ended. */
  onStopped(): void
}

/**
 * Interval at which written bytes are checked. Checking is cheap, since the count exists anyway.
 */
const lookEveryMs = 100

/**
 * Transient errors: V8's threads are not at rest, or a forked copy hung or died. A capture that
 * fails with one is retried after `retryAfterMs`, with at most `maxTries` attempts in all.
 */
const passing = new Set(['ERR_STILLFRAME_BUSY', 'ERR_STILLFRAME_CHILD_DIED', 'ERR_STILLFRAME_STALLED'])
const maxTries = 4
const retryAfterMs = 50

let makeSchedule: (request: ScheduleRequest) => Schedule

/** @internal Starts the schedule at once. */
export function startSchedule(request: ScheduleRequest): Schedule {
  return makeSchedule(request)
}

/** Periodic captures; see `archive.schedule()`. */
export class Schedule {
  readonly #request: ScheduleRequest
  readonly #inContext = new AsyncResource('StillframeSchedule')
  #tick: NodeJS.Timeout | undefined
  #look: NodeJS.Timeout | undefined
  /** The sources of the last attempt, whose writes are counted. */
  #captured: unknown
  /** Settles when the current frame has been captured or has failed, after all attempts. */
  #running: Promise<void> | undefined
  #snapshot: Snapshot | undefined
  #stopping: { readonly reason: unknown } | undefined
  #stopped: Promise<void> | undefined
  /** False after a failure: the next frame waits for a tick, however much has been written. */
  #early = true

  #taken = 0
  #failed = 0
  #skipped = 0
  #lastFrame: Frame | undefined
  #lastError: unknown

  static {
    makeSchedule = (request) => new Schedule(request)
  }

  private constructor(request: ScheduleRequest) {
    if (request?.everyMs === undefined)
      throw new TypeError('Schedule has no public constructor: use archive.schedule()')
    this.#request = request
    if (typeof request.sources !== 'function') this.#captured = request.sources
    this.#wind()
    if (request.orChangedBytes !== undefined) {
      this.#look = setInterval(() => this.#lookAtWritten(), Math.min(lookEveryMs, request.everyMs)).unref()
    }
    request.signal?.addEventListener('abort', this.#onAbort, { once: true })
  }

  /** Number of frames captured. */
  get taken(): number {
    return this.#taken
  }

  /** Number of frames that failed after all attempts. */
  get failed(): number {
    return this.#failed
  }

  /** Number of ticks that were skipped because a capture was in progress. */
  get skipped(): number {
    return this.#skipped
  }

  /** The last frame that was captured. */
  get lastFrame(): Frame | undefined {
    return this.#lastFrame
  }

  /** The error of the last frame that failed. */
  get lastError(): unknown {
    return this.#lastError
  }

  /** True while a frame is being captured. */
  get capturing(): boolean {
    return this.#running !== undefined
  }

  /**
   * Stops the schedule and waits for the capture in progress. Never rejects. A further call can
   * shorten the wait.
   *
   * @throws TypeError, RangeError for invalid arguments.
   */
  async stop(options?: StopOptions): Promise<void> {
    const given = checkOptions(options, ['finish', 'withinMs'])
    const finish = checkBoolean(given.finish, 'options.finish', true)
    const withinMs = optionalInteger(given.withinMs, 'options.withinMs', 0, 2 ** 31 - 1)
    const end = this.#stop()
    const abort = (): void => this.#abort(abortError())
    if (!finish) abort()
    const timer = finish && withinMs !== undefined ? setTimeout(abort, withinMs) : undefined
    await end
    clearTimeout(timer)
  }

  /** Aborts the capture in progress and waits for its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop({ finish: false })
  }

  /** @internal */
  [inspect.custom](_depth: number, options: object): string {
    const { taken, failed, skipped, capturing } = this
    return `Schedule ${inspect({ taken, failed, skipped, capturing, stopped: this.#stopped !== undefined }, options)}`
  }

  readonly #onAbort = (): void => {
    void this.#stop()
    this.#abort(this.#request.signal?.reason)
  }

  #stop(): Promise<void> {
    this.#stopped ??= this.#end()
    return this.#stopped
  }

  async #end(): Promise<void> {
    clearInterval(this.#tick)
    clearInterval(this.#look)
    await this.#running
    this.#request.signal?.removeEventListener('abort', this.#onAbort)
    this.#request.onStopped()
  }

  #abort(reason: unknown): void {
    this.#stopping ??= { reason }
    this.#snapshot?.abort(reason)
  }

  /** Restarts the interval. The timer does not keep the process alive; a capture does. */
  #wind(): void {
    clearInterval(this.#tick)
    this.#tick = setInterval(() => {
      if (this.#running === undefined) {
        this.#begin()
        return
      }
      this.#skipped++
      this.#request.onSkipped()
    }, this.#request.everyMs).unref()
  }

  #lookAtWritten(): void {
    const { orChangedBytes = Number.POSITIVE_INFINITY } = this.#request
    if (this.#running !== undefined || !this.#early) return
    if (writtenIn(this.#captured) < orChangedBytes) return
    this.#wind()
    this.#begin()
  }

  #begin(): void {
    this.#running = this.#inContext
      .runInAsyncScope(() => this.#take())
      .finally(() => {
        this.#running = undefined
      })
  }

  /** Never rejects. */
  async #take(): Promise<void> {
    const { onFrame } = this.#request
    try {
      const frame = await this.#tryRepeatedly()
      this.#taken++
      this.#early = true
      this.#lastFrame = frame
      if (onFrame !== undefined) notify(onFrame, frame)
    } catch (error) {
      // Do not report a failure to a caller who has aborted the schedule.
      if (this.#stopping !== undefined) return
      this.#failed++
      this.#early = false
      this.#lastError = error
      this.#tell(error)
    }
  }

  async #tryRepeatedly(): Promise<Frame> {
    const { sources } = this.#request
    for (let tries = 1; ; tries++) {
      try {
        this.#captured = typeof sources === 'function' ? sources() : sources
        this.#snapshot = this.#request.capture(this.#captured as Source)
        await this.#snapshot.done
        return this.#request.frameOf(this.#snapshot)
      } catch (error) {
        const isPassing = error instanceof StillframeError && passing.has(error.code)
        if (!isPassing || tries === maxTries || this.#stopped !== undefined) throw error
      } finally {
        this.#snapshot = undefined
      }
      await delay(retryAfterMs)
      if (this.#stopping !== undefined) throw this.#stopping.reason
    }
  }

  #tell(error: unknown): void {
    const { onError } = this.#request
    if (onError !== undefined) notify(onError, error)
    // A backup that fails silently is worse than none.
    else
      process.emitWarning(
        `stillframe: a frame could not be taken: ${messageOf(error)}`,
        'StillframeArchiveWarning',
      )
  }
}

/**
 * Bytes known to have been written, in units of 2 MiB, since the frame at which the record begins.
 */
function writtenIn(sources: unknown): number {
  const list: unknown[] = isRegion(sources) ? [sources] : Object.values((sources as object | undefined) ?? {})
  return list.filter(isRegion).reduce((sum, region) => sum + (writtenBytes(region) ?? 0), 0)
}
