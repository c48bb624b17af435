// Spans and metrics of all snapshots for OpenTelemetry, using only stillframe's tracing channels.
//
//   npm install @opentelemetry/api
//
//   import { traceStillframe } from './opentelemetry.mjs'
//   traceStillframe() // after starting an SDK such as @opentelemetry/sdk-node, or it does nothing
//
// To see it work without a service or a collector:
//
//   npm install @opentelemetry/api@1.9 @opentelemetry/sdk-trace-base@2
//   node examples/opentelemetry.mjs
//
// A span lasts from the call to the published file, is a child of the span that is active at the
// call, and has an event at the freeze. Its attributes come from the context of the channel and the
// result.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import { context as activeContext, metrics, SpanStatusCode, trace, ValueType } from '@opentelemetry/api'

const channels = ['snapshot', 'restore', 'compact', 'heap', 'capture', 'prune']

/** Listens until the returned function is called. */
export function traceStillframe() {
  const tracer = trace.getTracer('stillframe')
  const meter = metrics.getMeter('stillframe')
  const seconds = { unit: 's', valueType: ValueType.DOUBLE }
  const pause = meter.createHistogram('stillframe.pause', {
    ...seconds,
    description: 'How long freezing the memory blocked the thread',
    advice: { explicitBucketBoundaries: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1] },
  })
  const duration = meter.createHistogram('stillframe.duration', {
    ...seconds,
    description: 'How long operations took, from the call to their end',
    advice: { explicitBucketBoundaries: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600] },
  })
  const written = meter.createCounter('stillframe.written', {
    unit: 'By',
    description: 'Bytes that the published files take on disk',
  })

  /** Operations in progress, by the context object that all events of one operation share. */
  const running = new WeakMap()
  const listeners = []
  const on = (channel, event, listener) => {
    const name = `tracing:stillframe.${channel}:${event}`
    subscribe(name, listener)
    listeners.push([name, listener])
  }

  for (const channel of channels) {
    on(channel, 'start', (operation) => {
      const name = operation.operation ?? channel
      const span = tracer.startSpan(
        `stillframe ${name}`,
        { attributes: attributesOf(operation) },
        activeContext.active(),
      )
      running.set(operation, { name, span, startedAt: performance.now() })
    })
    // From here on the operation continues in the background, unless the call has thrown.
    on(channel, 'end', (operation) => {
      if (hasFailed(operation)) finish(operation)
      else if (operation.frozenAt !== undefined)
        running.get(operation)?.span.addEvent('frozen', operation.frozenAt)
    })
    on(channel, 'asyncEnd', finish)
  }

  function finish(operation) {
    const { name, span, startedAt } = running.get(operation) ?? {}
    // The operation began before anyone was listening.
    if (span === undefined) return
    running.delete(operation)
    const { result, error } = operation
    const outcome = { 'stillframe.operation': name }
    if (hasFailed(operation)) outcome['error.type'] = errorType(operation)
    span.setAttributes({ ...attributesOf(operation), ...attributesOf(result ?? {}) })
    if (operation.aborted) {
      span.addEvent('aborted')
    } else if (hasFailed(operation)) {
      span.recordException(error)
      span.setStatus({ code: SpanStatusCode.ERROR, message: String(error?.message ?? error) })
    }
    span.end()
    duration.record((performance.now() - startedAt) / 1000, outcome)
    if (result?.pauseMs !== undefined) pause.record(result.pauseMs / 1000, outcome)
    if (result?.allocatedBytes !== undefined) written.add(result.allocatedBytes, outcome)
  }

  return () => {
    for (const [name, listener] of listeners) unsubscribe(name, listener)
  }
}

function hasFailed(operation) {
  return Object.hasOwn(operation, 'error')
}

/** A low-cardinality value, as OpenTelemetry's conventions require. */
function errorType(operation) {
  if (operation.aborted) return 'aborted'
  return operation.error?.name === 'StillframeError' ? operation.error.code : '_OTHER'
}

/** The primitive values of a context or result. Other values do not fit into attributes. */
function attributesOf(values) {
  const attributes = {}
  for (const [key, value] of Object.entries(values)) {
    if (['string', 'number', 'boolean'].includes(typeof value)) attributes[`stillframe.${key}`] = value
  }
  return attributes
}

/** Prints the spans of a successful snapshot and of a failing one. */
async function demonstrate() {
  const { BasicTracerProvider, ConsoleSpanExporter, SimpleSpanProcessor } = await import(
    '@opentelemetry/sdk-trace-base'
  )
  const { snapshot } = await import('stillframe')
  const spanProcessors = [new SimpleSpanProcessor(new ConsoleSpanExporter())]
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors }))
  const stop = traceStillframe()
  await snapshot(new ArrayBuffer(1 << 20), 'traced.snapshot').done
  try {
    snapshot(new ArrayBuffer(1 << 20), 'no/such/directory/traced.snapshot')
  } catch {}
  stop()
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await demonstrate()
