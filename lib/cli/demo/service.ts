/**
 * The service whose memory is saved. It runs on the event loop of the main thread (a region's
 * buffer belongs to one isolate) and keeps changing random pages, as requests would. It also
 * measures how saving affects such requests.
 */

import { type IntervalHistogram, monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import { pageBytes, Random } from './memory.js'

/** Pages changed per second. With pages of 4 KiB this dirties 82 MB/s, a busy service. */
export const targetWritesPerSecond = 20_000
/** Limit of writes in one turn: after a stall the service does not catch up. */
const maxWritesPerTurn = 100
/** Size of the views of the memory: typed arrays end at 4 GiB on Node 20, regions do not. */
const viewBytes = 2 ** 30

/** Measurements of the service. */
export interface ServiceReport {
  /** 99th percentile of the event loop's delay, which node:perf_hooks samples every millisecond. */
  eventLoopP99Ms: number
  /** Longest time between two turns of the service, which requests one every millisecond. */
  eventLoopMaxMs: number
  writes: number
  writesPerSecond: number
  /** Number of distinct pages changed. */
  pagesChanged: number
}

/** Changes random pages of a buffer, from `start` to `stop`. */
export class Service {
  readonly #views: Uint32Array[] = []
  readonly #random: Random
  readonly #pages: number
  /** One byte per page: 1 if changed since `beginMeasuring`. */
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

  /** Discards earlier measurements. The clock starts when this returns. */
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
    // The current turn counts, since it may be the delayed one.
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

  /** One turn: performs the writes that have become due since the last one. */
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
    // An odd number is never 0, so the word always changes.
    if (view !== undefined) view[word] = (view[word] ?? 0) ^ (this.#random.next() | 1)
    this.#writes += 1
    this.#pagesChanged += 1 - (this.#changed[page] ?? 0)
    this.#changed[page] = 1
  }
}
