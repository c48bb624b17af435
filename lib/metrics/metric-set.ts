/**
 * The metrics: their names and descriptions, and which parts of an operation they count.
 *
 * There are few labels, with few values: `operation` (9), `engine` (4), `code` (about 20), and
 * `archive`, with one value for each archive that the service has opened.
 */

import {
  Counter,
  Gauge,
  Histogram,
  type Metric,
  type OpenMetricsContentType,
  type PrometheusContentType,
  type Registry,
} from 'prom-client'
import type { StoreLagMessage } from '../archive/trace.js'
import { invalidArgValue } from '../base/errors.js'
import { failureCode, type Seen, type SeenResult } from './seen.js'

/** A register of prom-client, in either format. */
export type Register = Registry<PrometheusContentType> | Registry<OpenMetricsContentType>

/** In seconds: from the pause for a small memory to that of a stalled service. */
const pauseBuckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
/** In seconds: from a small file on a fast disk to hundreds of GiB on a slow one. */
const durationBuckets = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600]

/** Converts the milliseconds of results to seconds, the unit of Prometheus. */
const inSeconds = (ms: number): number => ms / 1000

/** All metrics of one call of `registerMetrics()`. */
export class MetricSet {
  readonly #made = new Map<string, Metric>()
  readonly #lastSuccess: Gauge
  readonly #pause: Histogram
  readonly #duration: Histogram
  readonly #writtenBytes: Counter
  readonly #changedBytes: Counter
  readonly #extraMemoryPeak: Gauge
  readonly #failures: Counter
  readonly #archiveFrames: Gauge
  readonly #archiveBytes: Gauge
  readonly #skippedTicks: Counter
  readonly #storeLagFrames: Gauge
  readonly #storeLagBytes: Gauge
  readonly #storeCopiedAt: Gauge

  /** @throws TypeError, before anything is registered, if a name is taken. */
  constructor(register: Register, prefix: string) {
    const pending: (() => void)[] = []
    const make = <Made extends Metric>(
      kind: new (configuration: {
        name: string
        help: string
        labelNames: string[]
        registers: Register[]
        buckets: number[]
      }) => Made,
      name: string,
      help: string,
      labelNames: string[],
      buckets: number[] = [],
    ): Made => {
      const fullName = `${prefix}${name}`
      if (register.getSingleMetric(fullName) !== undefined) {
        throw invalidArgValue(
          `the registry already has a metric '${fullName}'. Register the metrics once, or with another prefix`,
        )
      }
      const metric = new kind({ name: fullName, help, labelNames, registers: [], buckets })
      pending.push(() => register.registerMetric(metric))
      this.#made.set(fullName, metric)
      return metric
    }
    this.#lastSuccess = make(
      Gauge,
      'last_success_timestamp_seconds',
      'When the last operation of its kind succeeded, in seconds since 1970',
      ['operation', 'archive'],
    )
    this.#pause = make(
      Histogram,
      'pause_seconds',
      'How long freezing the memory blocked the thread',
      ['operation', 'engine'],
      pauseBuckets,
    )
    this.#duration = make(
      Histogram,
      'duration_seconds',
      'How long operations took: captures from the freeze to the published file',
      ['operation', 'engine'],
      durationBuckets,
    )
    this.#writtenBytes = make(Counter, 'written_bytes_total', 'Bytes that the published files take on disk', [
      'operation',
    ])
    this.#changedBytes = make(
      Counter,
      'changed_bytes_total',
      'Bytes of the pages that differ from the parent; without a parent, of all memory',
      ['operation'],
    )
    this.#extraMemoryPeak = make(
      Gauge,
      'extra_memory_peak_bytes',
      'The most extra memory that the last capture took at any one time',
      ['operation'],
    )
    this.#failures = make(Counter, 'failures_total', 'Operations that failed, by the code of the error', [
      'operation',
      'code',
      'archive',
    ])
    this.#archiveFrames = make(Gauge, 'archive_frames', 'Frames in the archive', ['archive'])
    this.#archiveBytes = make(Gauge, 'archive_bytes', 'Bytes of the files of the archive', ['archive'])
    this.#skippedTicks = make(
      Counter,
      'skipped_ticks_total',
      'Captures that a schedule skipped because the previous one had not ended',
      ['archive'],
    )
    this.#storeLagFrames = make(
      Gauge,
      'store_lag_frames',
      'Frames that are complete in the directory but not yet in the store',
      ['archive'],
    )
    this.#storeLagBytes = make(Gauge, 'store_lag_bytes', 'Bytes of the files of these frames', ['archive'])
    this.#storeCopiedAt = make(
      Gauge,
      'store_newest_frame_timestamp_seconds',
      'The instant of the newest frame that is in the store, in seconds since 1970',
      ['archive'],
    )
    for (const put of pending) put()
  }

  /**
   * Counts a successful operation.
   *
   * @param elapsedMs - time since its start, used if the result has no duration.
   */
  succeeded(channel: string, context: Seen, elapsedMs: number | undefined): void {
    const operation = context.operation ?? channel
    const result = (context.result ?? {}) as SeenResult
    const engine = result.engine ?? (channel === 'heap' ? 'fork' : 'none')
    this.#lastSuccess.set({ operation, ...archiveOf(context) }, inSeconds(Date.now()))
    ifNumber(result.durationMs ?? elapsedMs, (ms) =>
      this.#duration.observe({ operation, engine }, inSeconds(ms)),
    )
    ifNumber(result.allocatedBytes, (bytes) => this.#writtenBytes.inc({ operation }, bytes))
    // A compaction does not freeze memory.
    if (engine === 'none') return
    ifNumber(result.pauseMs, (ms) => this.#pause.observe({ operation, engine }, inSeconds(ms)))
    ifNumber(result.changedBytes, (bytes) => this.#changedBytes.inc({ operation }, bytes))
    ifNumber(result.copiedBytesPeak, (bytes) => this.#extraMemoryPeak.set({ operation }, bytes))
  }

  /** Counts an operation that failed or was aborted. */
  failed(channel: string, context: Seen): void {
    const operation = context.operation ?? channel
    this.#failures.inc({ operation, code: failureCode(context), ...archiveOf(context) })
  }

  /** Updates the archive's metrics when an operation on it has ended with its counts. */
  archiveIs({ archive, frames, bytes }: Seen): void {
    if (archive === undefined) return
    ifNumber(frames, (count) => this.#archiveFrames.set({ archive }, count))
    ifNumber(bytes, (sum) => this.#archiveBytes.set({ archive }, sum))
  }

  /** Counts a capture that a schedule has skipped. */
  skippedTick(archive: string): void {
    this.#skippedTicks.inc({ archive })
  }

  /** Updates how far a store lags behind. */
  storeLags({ archive, frames, bytes, copiedAt }: StoreLagMessage): void {
    this.#storeLagFrames.set({ archive }, frames)
    this.#storeLagBytes.set({ archive }, bytes)
    ifNumber(copiedAt?.getTime(), (ms) => this.#storeCopiedAt.set({ archive }, inSeconds(ms)))
  }

  /** Removes only metrics of this set: the register may have been cleared and filled again. */
  removeFrom(register: Register): void {
    for (const [name, metric] of this.#made) {
      if (register.getSingleMetric(name) === metric) register.removeSingleMetric(name)
    }
  }
}

function archiveOf({ archive }: Seen): { archive?: string } {
  return archive === undefined ? {} : { archive }
}

/**
 * Ignores values that prom-client would throw at, since an error of a listener would end the
 * service.
 */
function ifNumber(value: number | undefined, use: (value: number) => void): void {
  if (typeof value === 'number' && Number.isFinite(value) && value >= 0) use(value)
}
