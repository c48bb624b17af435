/**
 * Promise: every operation with tracing channels publishes its start, its end and its outcome
 * there, with the real addons. Proved by listening to all channels while each operation succeeds,
 * fails and is aborted.
 */

import { tracingChannel } from 'node:diagnostics_channel'
import { writeFileSync } from 'node:fs'
import { PassThrough } from 'node:stream'
import { type CompactTrace, compact, Region, type RestoreTrace, restore, snapshot } from 'stillframe'
import { readValues, snapshotState, writeHeapSnapshot, writeHeapSummary } from 'stillframe/heap'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const names = ['snapshot', 'restore', 'compact', 'heap'] as const
const events = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const
type Context = { path: string; result?: unknown; error?: unknown; aborted?: true; operation?: string }

let seen: string[] = []
let contexts: Context[] = []
const listeners = names.map((name) => {
  const listen = (event: string) => (message: unknown) => {
    seen.push(`${name} ${event}`)
    contexts.push(message as Context)
  }
  const handlers = Object.fromEntries(events.map((event) => [event, listen(event)]))
  return { channel: tracingChannel(`stillframe.${name}`), handlers: handlers as never }
})

beforeEach(() => {
  seen = []
  contexts = []
  for (const { channel, handlers } of listeners) channel.subscribe(handlers)
})

afterEach(() => {
  clearFaults()
  for (const { channel, handlers } of listeners) channel.unsubscribe(handlers)
})

const wentWell = (name: string): string[] =>
  ['start', 'end', 'asyncStart', 'asyncEnd'].map((event) => `${name} ${event}`)
const failed = (name: string): string[] =>
  ['start', 'end', 'error', 'asyncStart', 'asyncEnd'].map((event) => `${name} ${event}`)

/** The context of all events so far, which must belong to one operation. */
function theContext(): Context {
  expect(new Set(contexts).size).toBe(1)
  return contexts[0] as Context
}

async function saved(name: string): Promise<string> {
  using region = Region.allocate(1 << 16)
  const { path } = await snapshot(region, inDirectory(name)).done
  seen = []
  contexts = []
  return path
}

test('snapshot(), also where another engine has to step in', async () => {
  using region = Region.allocate(1 << 20)
  new Uint8Array(region.buffer).fill(1)
  const first = snapshot(region, inDirectory('first'))
  const second = snapshot(region, inDirectory('second'))
  const results = await Promise.all([first.done, second.done])
  for (const [index, result] of results.entries()) {
    const own = contexts.filter((context) => context.path === result.path)
    expect(own).toHaveLength(4)
    expect(new Set(own).size).toBe(1)
    const { id, engine, pauseMs, byteLength } = result
    expect(own[0]).toMatchObject({ id, engine, pauseMs, byteLength, result })
    expect(own[0]).toMatchObject({ frozenAt: [first, second][index]?.frozenAt })
  }
  expect(seen.toSorted()).toEqual([...wentWell('snapshot'), ...wentWell('snapshot')].toSorted())
})

test('snapshot() that cannot write', async () => {
  injectFault('pwrite', 1, 'EIO', true)
  const error = await rejectionOf(snapshot(new ArrayBuffer(1 << 20), inDirectory('file')).done)
  expect(seen).toEqual(failed('snapshot'))
  expect(theContext()).toMatchObject({ error, byteLength: 1 << 20 })
  expect(error.code).toBe('ERR_STILLFRAME_IO')
})

test('restore(), whose result is what it resolves to', async () => {
  const path = await saved('file')
  const restored = await restore(path)
  const { result, ...rest } = theContext() as RestoreTrace
  expect(result).toBe(restored)
  expect(rest).toEqual({ path })
  expect(seen).toEqual(wentWell('restore'))
  restored.close()
})

test('restore() that fails, that is aborted, and that is asked wrongly', async () => {
  writeFileSync(inDirectory('damaged'), 'no snapshot')
  const error = await rejectionOf(restore(inDirectory('damaged')))
  expect(theContext()).toMatchObject({ error })
  expect(theContext()).not.toHaveProperty('aborted')
  expect(seen).toEqual(failed('restore'))
  seen = []
  contexts = []
  const signal = AbortSignal.abort()
  expect(await rejectionOf(restore(inDirectory('damaged'), { signal }))).toBe(signal.reason)
  expect(theContext()).toMatchObject({ error: signal.reason, aborted: true })
  expect(seen).toEqual(failed('restore'))
  seen = []
  await rejectionOf(restore(7 as never))
  expect(seen).toEqual([])
})

test('compact(), that works and that does not', async () => {
  const path = await saved('file')
  const to = inDirectory('compacted')
  const result = await compact(path, to)
  expect(theContext() as CompactTrace).toEqual({ path, to, result })
  expect(seen).toEqual(wentWell('compact'))
  seen = []
  contexts = []
  const error = await rejectionOf(compact(inDirectory('missing'), to))
  expect(theContext()).toMatchObject({ error })
  expect(seen).toEqual(failed('compact'))
})

test.each([
  ['writeHeapSnapshot', (path: string) => writeHeapSnapshot(path)],
  ['writeHeapSummary', (path: string) => writeHeapSummary(path)],
  ['snapshotState', (path: string) => snapshotState(path, (out) => out.value(seen))],
])('%s()', async (operation, start) => {
  const path = inDirectory('file')
  const job = start(path)
  const { frozenAt, pauseMs } = job
  expect(theContext()).toMatchObject({ operation, path, frozenAt, pauseMs })
  const result = await job.done
  expect(theContext()).toMatchObject({ operation, path, result })
  expect(seen).toEqual(wentWell('heap'))
})

test('jobs on the heap that fail in the copy, in the call, with a stream, and by an abort', async () => {
  const threw = snapshotState(inDirectory('state'), () => {
    throw new Error('of the callback')
  })
  const error = await rejectionOf(threw.done)
  expect(error.code).toBe('ERR_STILLFRAME_CALLBACK')
  expect(theContext()).toMatchObject({ error })
  expect(seen).toEqual(failed('heap'))

  seen = []
  contexts = []
  const missing = inDirectory('missing/file')
  const refused = thrownBy(() => writeHeapSummary(missing))
  expect(theContext()).toMatchObject({ path: missing, error: refused })
  expect(seen).toEqual(['heap start', 'heap error', 'heap end'])

  seen = []
  contexts = []
  const stream = new PassThrough()
  stream.on('error', () => {})
  const job = writeHeapSnapshot(stream)
  const reason = new Error('enough')
  job.abort(reason)
  expect(await rejectionOf(job.done)).toBe(reason)
  expect(theContext()).toMatchObject({ path: '', aborted: true, error: reason })
  expect(seen).toEqual(failed('heap'))
})

test('nothing of it happens in the frozen copy', async () => {
  const path = inDirectory('state')
  await snapshotState(path, (out) => {
    try {
      snapshot(new ArrayBuffer(1), inDirectory('file'))
    } catch {}
    out.value(seen)
  }).done
  for await (const value of readValues(path)) expect(value).toEqual(['heap start'])
  expect(seen).toEqual(wentWell('heap'))
})
