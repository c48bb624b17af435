/**
 * Metrics for Prometheus, through the service's own prom-client.
 *
 * @module stillframe/metrics
 */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { performance } from 'node:perf_hooks'
import type { Registry } from 'prom-client'
import type { StoreLagMessage } from '../archive/trace.js'
import { invalidArgType, invalidArgValue } from '../base/errors.js'
import type { SkippedTick } from '../base/tracing.js'
import { checkOptions } from '../base/validate.js'
import { MetricSet, type Register } from './metric-set.js'
import { isFailed, type Seen } from './seen.js'

export type { Register } from './metric-set.js'

/** Options of {@link registerMetrics}. */
export interface MetricsOptions {
  /** The register for the metrics, such as `register` of prom-client. */
  register: Register
  /**
   * Prefix of the metric names: letters, digits, `_` and `:`, not beginning with a digit. May be
   * empty. Default `'stillframe_'`.
   */
  prefix?: string | undefined
}

/** The metrics in a register, until they are removed. */
export interface RegisteredMetrics extends Disposable {
  /** Removes the metrics from the register and stops counting. Idempotent. */
  unregister(): void
}

const operations = ['snapshot', 'restore', 'compact', 'heap', 'capture', 'prune', 'upload'] as const

/**
 * Adds metrics of all snapshots, restores and jobs of this thread to a register of prom-client,
 * which must be installed. docs/OPERATIONS.md has a table of them. It only listens to the tracing
 * channels: nothing else in the service changes, and operations that began earlier are not counted.
 *
 * @returns a handle for removing the metrics; it may be ignored.
 * @throws TypeError for invalid arguments, and if the register already has a metric with one of the
 *   names, such as from an earlier call: each prefix can be registered once. The register is then
 *   unchanged.
 */
export function registerMetrics(options: MetricsOptions): RegisteredMetrics {
  const { register, prefix } = checkMetricsOptions(options)
  const metrics = new MetricSet(register, prefix)
  const startedAt = new WeakMap<object, number>()
  const listeners: [channel: string, listener: (message: unknown) => void][] = []
  for (const operation of operations) {
    const channel = `tracing:stillframe.${operation}`
    listeners.push(
      [`${channel}:start`, (context) => startedAt.set(context as object, performance.now())],
      [`${channel}:error`, (context) => metrics.failed(operation, context as Seen)],
      [
        `${channel}:asyncEnd`,
        (context) => {
          const seen = context as Seen
          if (!isFailed(seen)) metrics.succeeded(operation, seen, elapsedMs(startedAt.get(seen)))
          metrics.archiveIs(seen)
        },
      ],
    )
  }
  listeners.push([
    'stillframe.schedule.skipped',
    (message) => metrics.skippedTick((message as SkippedTick).archive),
  ])
  listeners.push(['stillframe.store.lag', (message) => metrics.storeLags(message as StoreLagMessage)])
  for (const [channel, listener] of listeners) subscribe(channel, listener)

  const unregister = (): void => {
    for (const [channel, listener] of listeners) unsubscribe(channel, listener)
    metrics.removeFrom(register)
  }
  return { unregister, [Symbol.dispose]: unregister }
}

/** Undefined for operations that began before the listeners were added. */
function elapsedMs(startedAt: number | undefined): number | undefined {
  return startedAt === undefined ? undefined : performance.now() - startedAt
}

function checkMetricsOptions(options: unknown): { register: Register; prefix: string } {
  const { register, prefix = 'stillframe_' } = checkOptions(options, ['register', 'prefix'])
  const { registerMetric, getSingleMetric, removeSingleMetric } = (register ?? {}) as Partial<Registry>
  const functions = [registerMetric, getSingleMetric, removeSingleMetric]
  if (functions.some((member) => typeof member !== 'function'))
    throw invalidArgType('options.register', 'a Registry of prom-client', register)
  if (typeof prefix !== 'string') throw invalidArgType('options.prefix', 'a string', prefix)
  if (!/^([a-zA-Z_:][a-zA-Z0-9_:]*)?$/.test(prefix))
    throw invalidArgValue(
      `options.prefix must begin with a letter, '_' or ':' and consist of letters, digits, '_' and ':', ` +
        `not '${prefix}'`,
    )
  return { register: register as Registry, prefix }
}
