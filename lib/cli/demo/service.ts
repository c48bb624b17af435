/**
 * The service whose memory is saved: it lives on the event loop of the main thread (a region's
 * buffer belongs to one isolate) and changes random pages the whole time, as requests would. It
 * also is the stopwatch for what saving does to such requests.
 */

import { type IntervalHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import { pageBytes, Random } from './memory.js'

/** Pages changed a second: with pages of 4 KiB, 82 MB/s of memory made dirty, a busy service. */
export const targetWritesPerSecond = 20_000
/**
 * After a stall the service does not make up for what it missed: at most so many writes in one
 * turn.
 */
const maxWritesPerTurn = 100
/**
 * Typed arrays end at 4 GiB on Node 20, regions do not: the memory is seen through such windows.
 */
const viewBytes = 2 ** 30

/** What the service went through while it was measured. */
export interface ServiceReport {
  /** 99th percentile of the event loop's delay, as node:perf_hooks samples it every millisecond. */
  eventLoopP99Ms: number
  /** Longest time between two turns of the service, which asks for one every millisecond. */
  eventLoopMaxMs: number
  writes: number
  writesPerSecond: number
  /** How many different pages were changed. */
  pagesChanged: number
}

/** Changes random pages of a buffer from `start` to `stop`. */
export class Service {
  readonly #views: Uint32Array[] = []
  readonly #random: Random
  readonly #pages: number
  /** One byte a page: changed since `beginMeasuring`. */
  readonly #changed: Uint8Array
  #timer: NodeJS.Timeout | undefined
  #histogram: IntervalHistogram | undefined
  #measuredSinceMs = 0
  #lastTurnMs = 0
  #longestTurnMs = 0
  #writes = 0
  #pagesChanged = 0

  constructor(buffer: ArrayBuffer, seed: number) {
    this.#pages = Math.floor(buffer.byteLength / pageBytes)
    this.#changed = new Uint8Array(this.#pages)
    this.#random = new Random(seed)
    for (let offset = 0; offset < buffer.byteLength; offset += viewBytes) {
      const length = Math.min(viewBytes, buffer.byteLength - offset)
      this.#views.push(new Uint32Array(buffer, offset, Math.floor(length / 4)))
    }
  }

  start(): void {
    if (this.#timer !== undefined) return
    this.#lastTurnMs = performance.now()
    this.#timer = setTimeout(this.#turn, 1)
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#histogram?.disable()
    this.#histogram = undefined
  }

  /** Forgets what was measured so far. The clock starts with the return. */
  beginMeasuring(): void {
    this.#changed.fill(0)
    this.#pagesChanged = 0
    this.#writes = 0
    this.#longestTurnMs = 0
    this.#histogram = monitorEventLoopDelay({ resolution: 1 })
    this.#histogram.enable()
    this.#measuredSinceMs = performance.now()
    this.#lastTurnMs = this.#measuredSinceMs
  }

  endMeasuring(): ServiceReport {
    const nowMs = performance.now()
    // The turn that is under way counts: it may be the one that waits.
    this.#longestTurnMs = Math.max(this.#longestTurnMs, nowMs - this.#lastTurnMs)
    const eventLoopP99Ms = (this.#histogram?.percentile(99) ?? 0) / 1e6
    this.#histogram?.disable()
    this.#histogram = undefined
    return {
      eventLoopP99Ms,
      eventLoopMaxMs: this.#longestTurnMs,
      writes: this.#writes,
      writesPerSecond: this.#writes / ((nowMs - this.#measuredSinceMs) / 1000),
      pagesChanged: this.#pagesChanged,
    }
  }

  /** One turn: the writes that have come due since the last one. */
  readonly #turn = (): void => {
    const nowMs = performance.now()
    const elapsedMs = nowMs - this.#lastTurnMs
    this.#lastTurnMs = nowMs
    this.#longestTurnMs = Math.max(this.#longestTurnMs, elapsedMs)
    const due = Math.round((elapsedMs * targetWritesPerSecond) / 1000)
    for (let count = Math.min(due, maxWritesPerTurn); count > 0; count--) this.#changeOnePage()
    this.#timer = setTimeout(this.#turn, 1)
  }

  #changeOnePage(): void {
    const page = this.#random.next() % this.#pages
    const byteOffset = page * pageBytes
    const view = this.#views[Math.floor(byteOffset / viewBytes)]
    const word = (byteOffset % viewBytes) / 4 + (this.#random.next() % (pageBytes / 4))
    // An odd number, never 0: the word is a different one afterwards.
    if (view !== undefined) view[word] = (view[word] ?? 0) ^ (this.#random.next() | 1)
    this.#writes += 1
    this.#pagesChanged += 1 - (this.#changed[page] ?? 0)
    this.#changed[page] = 1
  }
}
