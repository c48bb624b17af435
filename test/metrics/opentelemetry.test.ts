/**
 * Promise: the example for OpenTelemetry turns every operation into a span below the caller's span,
 * and into metrics, only by listening. Proved with the real library and the real SDK, whose
 * exporters keep the data they receive.
 */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { context, metrics, SpanStatusCode, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-base'
import { restore, snapshot } from 'stillframe'
import { snapshotState } from 'stillframe/heap'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { traceStillframe } from '../../examples/opentelemetry.mjs'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const spans = new InMemorySpanExporter()
const numbers = new InMemoryMetricExporter(AggregationTemporality.DELTA)
const reader = new PeriodicExportingMetricReader({ exporter: numbers, exportIntervalMillis: 2 ** 30 })
const meters = new MeterProvider({ readers: [reader] })
let stop: () => void

beforeAll(() => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }))
  metrics.setGlobalMeterProvider(meters)
  stop = traceStillframe()
})

afterAll(async () => {
  stop()
  await meters.shutdown()
  for (const api of [context, trace, metrics]) api.disable()
})

beforeEach(async () => {
  await meters.forceFlush()
  spans.reset()
  numbers.reset()
})

/** The only span that has ended. */
function theSpan(): ReadableSpan {
  const ended = spans.getFinishedSpans()
  expect(ended).toHaveLength(1)
  return ended[0] as ReadableSpan
}

/**
 * The values recorded since the last test, by name and attributes. A histogram is represented by
 * its sum.
 */
async function recorded(): Promise<Record<string, unknown>> {
  await meters.forceFlush()
  const found: Record<string, unknown> = {}
  for (const { scopeMetrics } of numbers.getMetrics()) {
    for (const { descriptor, dataPoints } of scopeMetrics.flatMap((scope) => scope.metrics)) {
      for (const { attributes, value } of dataPoints) {
        const key = [descriptor.name, ...Object.values(attributes)].join(' ')
        found[key] = typeof value === 'number' ? value : value.sum
      }
    }
  }
  return found
}

test('a snapshot: a span below that of the caller, which lasts until the file is there', async () => {
  const caller = trace.getTracer('test').startSpan('request')
  const result = await context.with(trace.setSpan(context.active(), caller), async () => {
    const shot = snapshot(new ArrayBuffer(1 << 20), inDirectory('file'))
    expect(spans.getFinishedSpans()).toEqual([])
    return await shot.done
  })
  const { name, parentSpanContext, attributes, events, status, ended } = theSpan()
  expect({ name, ended }).toEqual({ name: 'stillframe snapshot', ended: true })
  expect(parentSpanContext?.spanId).toBe(caller.spanContext().spanId)
  const { id, path, engine, kind, byteLength, pauseMs, allocatedBytes } = result
  expect(attributes).toMatchObject({
    'stillframe.id': id,
    'stillframe.path': path,
    'stillframe.engine': engine,
    'stillframe.kind': kind,
    'stillframe.byteLength': byteLength,
    'stillframe.pauseMs': pauseMs,
  })
  expect(events.map((event) => event.name)).toEqual(['frozen'])
  expect(status.code).toBe(SpanStatusCode.UNSET)
  expect(await recorded()).toMatchObject({
    'stillframe.pause snapshot': pauseMs / 1000,
    'stillframe.written snapshot': allocatedBytes,
    'stillframe.duration snapshot': expect.any(Number),
  })
})

test('a failure that is injected: the span says so', async () => {
  injectFault('pwrite', 1, 'EIO', true)
  const error = await rejectionOf(snapshot(new ArrayBuffer(1 << 20), inDirectory('file')).done)
  clearFaults()
  const { status, events } = theSpan()
  expect(status).toEqual({ code: SpanStatusCode.ERROR, message: error.message })
  expect(events.map(({ name }) => name)).toEqual(['frozen', 'exception'])
  expect(Object.keys(await recorded())).toEqual(['stillframe.duration snapshot ERR_STILLFRAME_IO'])
})

test('a call that throws: its span ends with it, without a freeze', () => {
  thrownBy(() => snapshot(new ArrayBuffer(4096), inDirectory('missing/file')))
  const { status, events } = theSpan()
  expect(status.code).toBe(SpanStatusCode.ERROR)
  expect(events.map(({ name }) => name)).toEqual(['exception'])
})

test('an abort is no error', async () => {
  const shot = snapshot(new ArrayBuffer(4096), inDirectory('file'))
  shot.abort()
  await rejectionOf(shot.done)
  const { status, events } = theSpan()
  expect(status.code).toBe(SpanStatusCode.UNSET)
  expect(events.map(({ name }) => name)).toEqual(['frozen', 'aborted'])
})

test('restores and jobs on the heap have spans of their own names', async () => {
  await snapshot(new ArrayBuffer(4096), inDirectory('file')).done
  ;(await restore(inDirectory('file'))).close()
  await snapshotState(inDirectory('state'), (out) => out.value(1)).done
  expect(spans.getFinishedSpans().map(({ name }) => name)).toEqual([
    'stillframe snapshot',
    'stillframe restore',
    'stillframe snapshotState',
  ])
})

test('as a program it shows its spans', () => {
  const example = fileURLToPath(new URL('../../examples/opentelemetry.mjs', import.meta.url))
  const { status, stdout, stderr } = spawnSync(process.execPath, [example], {
    cwd: inDirectory(),
    encoding: 'utf8',
    timeout: 120_000,
  })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout.match(/name: 'stillframe snapshot'/g)).toHaveLength(2)
  expect(stdout).toMatch(/ERR_STILLFRAME_IO|ENOENT/)
})
