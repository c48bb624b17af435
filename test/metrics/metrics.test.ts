/**
 * Promise: Prometheus scrapes all operations on snapshots with the names, units and labels of the
 * document, and metrics harm neither the service nor its register. Proved with the real library and
 * the real prom-client, by scrapes over HTTP after successes, injected failures and aborts. Events
 * that only an archive emits are published on its channels by the test.
 */

import { channel } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { register as defaultRegister, Gauge, type OpenMetricsContentType, Registry } from 'prom-client'
import { compact, Region, restore, snapshot } from 'stillframe'
import { snapshotState } from 'stillframe/heap'
import { type RegisteredMetrics, registerMetrics } from 'stillframe/metrics'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { tellLag } from '../../lib/archive/trace.js'
import { type Traced, Tracer, tellSkippedTick } from '../../lib/base/tracing.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { scrape } from './scrape.js'

const inDirectory = useTemporaryDirectory()
let register = new Registry()
let handle: RegisteredMetrics

beforeEach(() => {
  register = new Registry()
  handle = registerMetrics({ register })
})

afterEach(() => {
  handle.unregister()
  clearFaults()
})

/** Samples of one scrape, except the buckets of histograms. */
async function scraped(): Promise<Record<string, number>> {
  const { samples } = await scrape(register)
  return Object.fromEntries([...samples].filter(([key]) => !key.includes('_bucket{')))
}

/** Names of the metrics in the document. */
const names = [
  'stillframe_archive_bytes',
  'stillframe_archive_frames',
  'stillframe_changed_bytes_total',
  'stillframe_duration_seconds',
  'stillframe_extra_memory_peak_bytes',
  'stillframe_failures_total',
  'stillframe_last_success_timestamp_seconds',
  'stillframe_pause_seconds',
  'stillframe_skipped_ticks_total',
  'stillframe_store_lag_bytes',
  'stillframe_store_lag_frames',
  'stillframe_store_newest_frame_timestamp_seconds',
  'stillframe_written_bytes_total',
]

describe('after', () => {
  test('snapshots that went well: what their results say, in seconds and bytes', async () => {
    using region = Region.allocate(1 << 20)
    const bytes = new Uint8Array(region.buffer).fill(1)
    const before = Date.now() / 1000
    const full = await snapshot(region, inDirectory('full')).done
    bytes[0] = 2
    const delta = await snapshot(region, inDirectory('delta'), { parent: full }).done
    const after = Date.now() / 1000
    const all = await scraped()
    const of = (name: string, labels: string): number | undefined => all[`stillframe_${name}{${labels}}`]
    const kind = 'operation="snapshot"'
    const engines = new Set([full.engine, delta.engine])
    const summed = (name: string): number =>
      [...engines].reduce((sum, engine) => sum + (of(name, `engine="${engine}",${kind}`) ?? Number.NaN), 0)
    expect(summed('pause_seconds_count')).toBe(2)
    expect(summed('pause_seconds_sum')).toBeCloseTo((full.pauseMs + delta.pauseMs) / 1000, 12)
    expect(summed('duration_seconds_count')).toBe(2)
    expect(summed('duration_seconds_sum')).toBeCloseTo((full.durationMs + delta.durationMs) / 1000, 12)
    expect(of('written_bytes_total', kind)).toBe(full.allocatedBytes + delta.allocatedBytes)
    expect(of('changed_bytes_total', kind)).toBe(full.changedBytes + delta.changedBytes)
    expect(delta.changedBytes).toBeLessThan(full.changedBytes)
    expect(of('extra_memory_peak_bytes', kind)).toBe(delta.copiedBytesPeak)
    const lastSuccess = of('last_success_timestamp_seconds', kind)
    expect(lastSuccess).toBeGreaterThanOrEqual(before)
    expect(lastSuccess).toBeLessThanOrEqual(after)
    expect(Object.keys(all).filter((key) => key.startsWith('stillframe_failures'))).toEqual([])
  })

  test('a failure that is injected, one in the call, and an abort: each by its code, and no success', async () => {
    const memory = new ArrayBuffer(1 << 20)
    injectFault('pwrite', 1, 'EIO', true)
    await rejectionOf(snapshot(memory, inDirectory('file')).done)
    clearFaults()
    thrownBy(() => snapshot(memory, inDirectory('missing/file')))
    const aborted = snapshot(memory, inDirectory('file'))
    aborted.abort(Object.assign(new Error('of the caller'), { code: `ERR_${Math.random()}` }))
    await rejectionOf(aborted.done)
    thrownBy(() => snapshot(memory, inDirectory('file'), { signal: AbortSignal.abort('enough') }))
    expect(await scraped()).toEqual({
      'stillframe_failures_total{code="ERR_STILLFRAME_IO",operation="snapshot"}': 2,
      'stillframe_failures_total{code="ABORTED",operation="snapshot"}': 2,
    })
  })

  test('a failure after a success: the time of the success stays', async () => {
    const memory = new ArrayBuffer(4096)
    await snapshot(memory, inDirectory('file')).done
    const key = 'stillframe_last_success_timestamp_seconds{operation="snapshot"}'
    const { [key]: before } = await scraped()
    thrownBy(() => snapshot(memory, inDirectory('missing/file')))
    const after = await scraped()
    expect(after[key]).toBe(before)
    expect(after['stillframe_failures_total{code="ERR_STILLFRAME_IO",operation="snapshot"}']).toBe(1)
  })

  test('a restore, a compaction and a job on the heap: each under its own name', async () => {
    await snapshot(new ArrayBuffer(1 << 16), inDirectory('file')).done
    ;(await restore(inDirectory('file'))).close()
    const compacted = await compact(inDirectory('file'), inDirectory('compacted'))
    const state = await snapshotState(inDirectory('state'), (out) => out.value(1)).done
    await rejectionOf(restore(inDirectory('missing')))
    const failing = snapshotState(inDirectory('state'), () => {
      throw new Error('of the callback')
    })
    await rejectionOf(failing.done)
    const all = await scraped()
    expect(all).toMatchObject({
      'stillframe_duration_seconds_count{engine="none",operation="restore"}': 1,
      'stillframe_duration_seconds_count{engine="none",operation="compact"}': 1,
      'stillframe_duration_seconds_sum{engine="none",operation="compact"}': compacted.durationMs / 1000,
      'stillframe_duration_seconds_sum{engine="fork",operation="snapshotState"}': state.durationMs / 1000,
      'stillframe_pause_seconds_sum{engine="fork",operation="snapshotState"}': state.pauseMs / 1000,
      'stillframe_written_bytes_total{operation="compact"}': compacted.allocatedBytes,
      'stillframe_written_bytes_total{operation="snapshotState"}': state.allocatedBytes,
      'stillframe_extra_memory_peak_bytes{operation="snapshotState"}': state.copiedBytesPeak,
      'stillframe_failures_total{code="ERR_STILLFRAME_IO",operation="restore"}': 1,
      'stillframe_failures_total{code="ERR_STILLFRAME_CALLBACK",operation="snapshotState"}': 1,
    })
    expect(all['stillframe_duration_seconds_sum{engine="none",operation="restore"}']).toBeGreaterThan(0)
    // A compaction freezes nothing and finds no changes.
    const ofCompaction = Object.keys(all).filter((key) => key.includes('operation="compact"'))
    expect(ofCompaction.filter((key) => /pause|changed|extra/.test(key))).toEqual([])
    for (const operation of ['snapshot', 'restore', 'compact', 'snapshotState'])
      expect(all).toHaveProperty([`stillframe_last_success_timestamp_seconds{operation="${operation}"}`])
  })

  test('what an archive tells: how much it holds, its captures, and the ticks that were skipped', async () => {
    interface OfArchive extends Traced<unknown> {
      archive: string
      frames?: number
      bytes?: number
    }
    const captures = new Tracer<OfArchive>('capture')
    const prunes = new Tracer<OfArchive>('prune')
    const archive = '/var/lib/"service"\\frames'
    const result = {
      engine: 'userfaultfd',
      pauseMs: 4,
      durationMs: 2000,
      allocatedBytes: 8192,
      changedBytes: 4096,
      copiedBytesPeak: 12_288,
    }
    await captures.promise(
      () => ({ archive, frames: 3, bytes: 30_000 }),
      undefined,
      async () => result,
    )
    tellSkippedTick(archive)
    tellSkippedTick(archive)
    await prunes.promise(
      () => ({ archive, frames: 2, bytes: 20_000 }),
      undefined,
      async () => [],
    )
    tellLag(archive, () => ({ frames: 3, bytes: 12_288, copiedAt: new Date(1_700_000_000_500) }))
    tellLag(archive, () => ({ frames: 1, bytes: 4096 }))
    const failure = captures.promise(
      () => ({ archive }),
      undefined,
      async () => Promise.reject(new Error('of nobody')),
    )
    await rejectionOf(failure)
    const all = await scraped()
    const label = 'archive="/var/lib/\\"service\\"\\\\frames"'
    expect(all).toMatchObject({
      [`stillframe_archive_frames{${label}}`]: 2,
      [`stillframe_archive_bytes{${label}}`]: 20_000,
      [`stillframe_skipped_ticks_total{${label}}`]: 2,
      [`stillframe_store_lag_frames{${label}}`]: 1,
      [`stillframe_store_lag_bytes{${label}}`]: 4096,
      [`stillframe_store_newest_frame_timestamp_seconds{${label}}`]: 1_700_000_000.5,
      [`stillframe_failures_total{${label},code="OTHER",operation="capture"}`]: 1,
      'stillframe_pause_seconds_sum{engine="userfaultfd",operation="capture"}': 0.004,
      'stillframe_duration_seconds_sum{engine="userfaultfd",operation="capture"}': 2,
      'stillframe_written_bytes_total{operation="capture"}': 8192,
      'stillframe_changed_bytes_total{operation="capture"}': 4096,
      'stillframe_extra_memory_peak_bytes{operation="capture"}': 12_288,
    })
    expect(all).toHaveProperty([`stillframe_last_success_timestamp_seconds{${label},operation="capture"}`])
    expect(all).toHaveProperty([`stillframe_last_success_timestamp_seconds{${label},operation="prune"}`])
  })
})

test('each metric is named, typed and explained before anything has happened, and in the document', async () => {
  const { samples, types, helps } = await scrape(register)
  expect([...types.keys()].toSorted()).toEqual(names)
  expect([...helps.keys()].toSorted()).toEqual(names)
  expect([...samples.keys()]).toEqual([])
  for (const [name, type] of types) expect(type === 'counter').toBe(name.endsWith('_total'))
  const document = readFileSync(new URL('../../docs/OPERATIONS.md', import.meta.url), 'utf8')
  const documented = [...document.matchAll(/^\| `(stillframe_[a-z_]+)` \| (counter|gauge|histogram) \|/gm)]
  expect(Object.fromEntries(documented.map(([, name, type]) => [name, type]))).toEqual(
    Object.fromEntries(types),
  )
})

test('the default register stays as it is, and a register for OpenMetrics works too', async () => {
  expect(defaultRegister.getMetricsAsArray()).toEqual([])
  const open = new Registry<OpenMetricsContentType>()
  open.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
  using _other = registerMetrics({ register: open })
  await snapshot(new ArrayBuffer(4096), inDirectory('file')).done
  const { samples } = await scrape(open)
  expect(samples.get('stillframe_changed_bytes_total{operation="snapshot"}')).toBe(4096)
})

describe('a register gets them once', () => {
  test('per prefix: the second call is refused and counts nothing', async () => {
    const twice = thrownBy(() => registerMetrics({ register }))
    expect(twice).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
    expect(twice.message).toMatch(/'stillframe_\w+'.*another prefix/)
    using _other = registerMetrics({ register, prefix: 'shop:' })
    await snapshot(new ArrayBuffer(4096), inDirectory('file')).done
    const all = await scraped()
    expect(all['stillframe_changed_bytes_total{operation="snapshot"}']).toBe(4096)
    expect(all['shop:changed_bytes_total{operation="snapshot"}']).toBe(4096)
  })

  test("and not at all if one name is somebody else's: it is then as it was", () => {
    const other = new Registry()
    const taken = new Gauge({ name: 'stillframe_skipped_ticks_total', help: 'x', registers: [other] })
    expect(thrownBy(() => registerMetrics({ register: other }))).toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
    })
    expect(other.getMetricsAsArray()).toEqual([taken])
  })
})

describe('unregister()', () => {
  const channels = ['snapshot', 'restore', 'compact', 'heap', 'capture', 'prune'].flatMap((operation) =>
    ['start', 'end', 'asyncStart', 'asyncEnd', 'error'].map(
      (event) => `tracing:stillframe.${operation}:${event}`,
    ),
  )
  const listenedTo = (): string[] =>
    [...channels, 'stillframe.schedule.skipped'].filter((name) => channel(name).hasSubscribers)

  test('leaves nothing behind, twice too, and another call may follow', async () => {
    expect(listenedTo()).not.toEqual([])
    handle.unregister()
    handle.unregister()
    expect(listenedTo()).toEqual([])
    expect(register.getMetricsAsArray()).toEqual([])
    handle = registerMetrics({ register })
    await snapshot(new ArrayBuffer(4096), inDirectory('file')).done
    expect((await scraped())['stillframe_changed_bytes_total{operation="snapshot"}']).toBe(4096)
  })

  test('takes out only its own: a register may have been cleared and filled since', () => {
    register.clear()
    using _next = registerMetrics({ register })
    handle.unregister()
    expect(register.getMetricsAsArray()).toHaveLength(names.length)
  })
})

test('wrong arguments are refused', () => {
  expect(thrownBy(() => registerMetrics(undefined as never))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  expect(thrownBy(() => registerMetrics({ register: {} as never }))).toMatchObject({
    code: 'ERR_INVALID_ARG_TYPE',
  })
  const fresh = new Registry()
  expect(thrownBy(() => registerMetrics({ register: fresh, prefix: 'a-' }))).toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
  })
  expect(thrownBy(() => registerMetrics({ register: fresh, prefix: 7 as never }))).toMatchObject({
    code: 'ERR_INVALID_ARG_TYPE',
  })
  expect(thrownBy(() => registerMetrics({ register: fresh, registry: fresh } as never))).toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
  })
  expect(fresh.getMetricsAsArray()).toEqual([])
})

test('numbers that prom-client would throw at are left out: nothing that is told can end the service', async () => {
  const uncaught: unknown[] = []
  const listeners = process.listeners('uncaughtException')
  process.removeAllListeners('uncaughtException')
  process.on('uncaughtException', (error) => uncaught.push(error))
  try {
    const odd = { durationMs: Number.NaN, allocatedBytes: -1, engine: 'fork', pauseMs: 'long' }
    const captures = new Tracer<Traced<unknown> & { archive: string; frames: number }>('capture')
    await captures.promise(
      () => ({ archive: 'a', frames: Number.NaN }),
      undefined,
      async () => odd,
    )
    await new Promise((resolve) => setImmediate(resolve))
    expect(Object.keys(await scraped())).toEqual([
      'stillframe_last_success_timestamp_seconds{archive="a",operation="capture"}',
    ])
  } finally {
    process.removeAllListeners('uncaughtException')
    for (const listener of listeners) process.on('uncaughtException', listener)
  }
  expect(uncaught).toEqual([])
})
