/**
 * Metrics for Prometheus, by way of the service's own prom-client.
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
  /** The register of prom-client that gets the metrics, such as its `register`. */
  register: Register
  /**
   * What the names begin with: letters, digits, `_` and `:`, and no digit first. May be empty.
   * Default `'stillframe_'`.
   */
  prefix?: string | undefined
}

/** The metrics in a register, until they are taken out. */
export interface RegisteredMetrics extends Disposable {
  /** Takes the metrics out of the register, and stops counting. Calling it again does nothing. */
  unregister(): void
}

const operations = ['snapshot', 'restore', 'compact', 'heap', 'capture', 'prune', 'upload'] as const

/**
 * Puts metrics of all snapshots, restores and jobs of this thread into a register of prom-client, which
 * has to be installed. docs/OPERATIONS.md has a table of them. It only listens to the tracing channels:
 * nothing else of the service changes, and operations that have begun before are not counted.
 *
 * @returns a handle to take them out again; it may be ignored.
 * @throws TypeError for wrong arguments, and if the register has a metric of one of the names already,
 *   such as from an earlier call: a register gets them once per prefix. It is then as it was.
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

/** Undefined for what began before anybody listened. */
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
      `options.prefix must be letters, digits, '_' and ':', and begin with no digit, not '${prefix}'`,
    )
  return { register: register as Registry, prefix }
}
