/**
 * Promise: a service that is about to die for want of memory leaves a complete heap snapshot of its leak, and dies as
 * it would have without us; one that lives on lives on. The file is whole or not there, whatever ends the service
 * while the copy is at work. Proved on services of their own with real leaks, limits and deaths.
 */

import { createReadStream, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'heap-snapshot-toolkit'
import { describe, expect, test } from 'vitest'
import { type MemoryWatchOptions, watchMemory } from '../../lib/heap/index.js'
import { thrownBy } from '../support/expect-error.js'
import { type Fixture, startFixture } from '../support/fixture.js'
import { memoryCgroup } from '../support/memory-cgroup.js'
import { hasEnded, nameOf, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const program = new URL('fixtures/watched.mjs', import.meta.url)
const MiB = 1 << 20

interface Plan {
  leak: 'objects' | 'closures' | 'buffers' | 'none'
  most?: number
  loop?: boolean
  worker?: number
}

function start(
  plan: Plan,
  options: Partial<MemoryWatchOptions> = {},
  { wrapper = [] as string[], heapMiB = 64 } = {},
): Fixture {
  const directory = inDirectory()
  // A Worker would have that limit too, whatever its own.
  const nodeOptions = plan.worker === undefined ? [`--max-old-space-size=${heapMiB}`] : []
  const given = [JSON.stringify({ directory, everyMs: 20, ...options }), JSON.stringify(plan)]
  return startFixture(program, given, { nodeOptions, wrapper })
}

async function reportWith(service: Fixture, key: string): Promise<Record<string, unknown>> {
  let report = await service.report()
  while (report[key] === undefined) report = await service.report()
  return report
}

const files = (): string[] => readdirSync(inDirectory())
const snapshots = (): string[] => files().filter((name) => name.endsWith('.heapsnapshot'))

/** Stops the copy, once it is no longer in the way of whoever waits for the service's end. */
async function holdCopyOf(service: Fixture): Promise<number> {
  let copy = 0
  service.child.stderr?.on('data', (chunk) => {
    copy ||= Number(/process (\d+) writes a heap snapshot/.exec(chunk)?.[1] ?? 0)
  })
  await waitUntil(() => copy !== 0 && nameOf(copy) === 'stillframe', 'there is a copy')
  process.kill(copy, 'SIGSTOP')
  return copy
}

async function theFile(): Promise<string> {
  await waitUntil(() => snapshots().length > 0, 'there is a file')
  expect(files()).toEqual(snapshots())
  return inDirectory(snapshots()[0])
}

/** How many objects the classes have, as the reader of Chrome DevTools counts them. */
async function classesIn(path: string): Promise<{ name: string; count: number; bytes: number }[]> {
  const heap = await parse(createReadStream(path, 'utf8'))
  return Object.values(heap.aggregatesWithFilter({} as never))
    .map(({ name, count, self }) => ({ name, count, bytes: self }))
    .sort((a, b) => b.bytes - a.bytes)
}

async function expectLeakIn(path: string): Promise<void> {
  const classes = await classesIn(path)
  const ofProgram = classes.filter(({ name }) => !/^[(]/.test(name) && name !== 'Array')
  expect(ofProgram[0]?.name).toBe('PlantedLeak')
  expect(ofProgram[0]?.count).toBeGreaterThan(100_000)
}

describe('near the heap limit', () => {
  test.each(['in a loop', 'from timers'])(
    'a service with a leak %s leaves it in a file, and dies',
    async (how) => {
      const service = start({ leak: 'objects', loop: how === 'in a loop' })
      const { status, signal, stderr } = await service.end
      // V8 aborts; a shell in between would tell it as 134.
      expect({ status, signal }).toEqual({ status: null, signal: 'SIGABRT' })
      expect(stderr).toContain('JavaScript heap out of memory')
      expect(stderr).toMatch(
        /^stillframe: near-heap-limit: heap of [\d.]+ MiB; process \d+ writes a heap snapshot to /m,
      )
      await expectLeakIn(await theFile())
    },
  )

  test('closures too', async () => {
    const service = start({ leak: 'closures' })
    await service.end
    const classes = await classesIn(await theFile())
    const closures = classes.find(({ name }) => name === '(closure)' || name === 'Function')
    expect(closures?.count).toBeGreaterThan(100_000)
  })

  test('a Worker with a limit of its own ends as without us, and the service goes on', async () => {
    const service = start({ leak: 'objects', worker: 48 })
    expect((await reportWith(service, 'worker'))['worker']).toBe('ERR_WORKER_OUT_OF_MEMORY')
    await expectLeakIn(await theFile())
    expect(snapshots()[0]).toMatch(/^heap-\d+\.\d+-/)
    service.tell('still there?')
    expect(await reportWith(service, 'lives')).toEqual({ lives: 'still there?' })
    await service.clear()
  })

  test('when the leak ends in time the service goes on, and the next time it is caught again', async () => {
    const service = start({ leak: 'objects', most: 600_000 }, { coolDownMs: 0 }, { heapMiB: 64 })
    await reportWith(service, 'capture')
    service.tell('well?')
    expect(await reportWith(service, 'lives')).toEqual({ lives: 'well?' })
    // What was leaked is let go, and a leak without end begins.
    service.tell('again')
    expect(await service.end).toMatchObject({ signal: 'SIGABRT' })
    await waitUntil(() => snapshots().length === 2, 'there are two files')
  })
})

describe('while the copy is at work', () => {
  const ends: Record<string, (service: Fixture) => void> = {
    'is killed': (service) => service.child.kill('SIGKILL'),
    exits: (service) => service.tell('exit'),
    'ends by an exception': (service) => service.tell('throw'),
    'has nothing more to do': (service) => {
      service.tell('stop')
      service.tell('end')
    },
  }
  for (const [how, end] of Object.entries(ends)) {
    test(`the service ${how}: the file is whole`, async () => {
      const service = start(
        { leak: 'objects', most: 300_000 },
        { heapUsedBytes: 20 * MiB },
        { heapMiB: 1024 },
      )
      const copy = await holdCopyOf(service)
      end(service)
      await service.end
      expect(snapshots()).toEqual([])
      process.kill(copy, 'SIGCONT')
      await expectWhole(await theFile())
    })
  }

  test('the copy is killed: no file, no rest of one, and the service is told', async () => {
    const service = start({ leak: 'objects', most: 300_000 }, { heapUsedBytes: 20 * MiB }, { heapMiB: 1024 })
    process.kill(await holdCopyOf(service), 'SIGKILL')
    const told = await reportWith(service, 'code')
    expect(told).toMatchObject({ trigger: 'heap', code: 'ERR_STILLFRAME_CHILD_DIED' })
    expect(files()).toEqual([])
    await service.clear()
  })

  test('a copy that nobody watches over any more ends when its time is up', async () => {
    const limits = { heapUsedBytes: 20 * MiB, timeoutMs: 500 }
    const service = start({ leak: 'objects', most: 300_000 }, limits, { heapMiB: 1024 })
    const copy = await holdCopyOf(service)
    service.child.kill('SIGKILL')
    await service.end
    await new Promise((resolve) => setTimeout(resolve, 600))
    process.kill(copy, 'SIGCONT')
    await waitUntil(() => hasEnded(copy), 'it has ended')
    expect(files()).toEqual([])
  })
})

async function expectWhole(path: string): Promise<void> {
  const { snapshot } = JSON.parse(readFileSync(path, 'utf8')) as { snapshot: { node_count: number } }
  expect(snapshot.node_count).toBeGreaterThan(50_000)
  expect((await classesIn(path)).some(({ name }) => name === 'PlantedLeak')).toBe(true)
}

describe('other triggers', () => {
  async function firstCapture(service: Fixture): Promise<Record<string, unknown>> {
    const { capture } = await reportWith(service, 'capture')
    await service.clear()
    return capture as Record<string, unknown>
  }

  test('RSS, also in a loop that never returns: a leak of Buffers', async () => {
    const service = start(
      { leak: 'buffers', loop: true, most: 300 },
      { rssBytes: 200 * MiB, nearHeapLimit: false },
    )
    expect(await firstCapture(service)).toMatchObject({ trigger: 'rss', kind: 'snapshot' })
    const classes = await classesIn(await theFile())
    expect(classes.find(({ name }) => name === 'ArrayBuffer')?.count).toBeGreaterThan(80)
  })

  test('RSS of a service that waits in its event loop', async () => {
    const service = start({ leak: 'none' }, { rssBytes: MiB, nearHeapLimit: false })
    expect(await firstCapture(service)).toMatchObject({ trigger: 'rss', kind: 'snapshot' })
  })

  test('per cent of the heap', async () => {
    const service = start({ leak: 'objects', most: 400_000 }, { heapUsedPercent: 20 }, { heapMiB: 128 })
    const capture = await firstCapture(service)
    expect(capture).toMatchObject({ trigger: 'heap', kind: 'snapshot' })
    expect(capture['heapBytes']).toBeGreaterThan(0.2 * 128 * MiB)
    expect(capture['path']).toBe(await theFile())
  })

  test('per cent of a real cgroup', async (context) => {
    const { wrapper } = memoryCgroup(context, 1024 * MiB)
    const service = start({ leak: 'buffers', most: 500 }, { cgroupPercent: 40 }, { wrapper })
    expect(await firstCapture(service)).toMatchObject({ trigger: 'cgroup', kind: 'snapshot' })
  })

  test('a heap that does not fit into what is left is not copied, and the service goes on', async (context) => {
    const { wrapper } = memoryCgroup(context, 320 * MiB)
    const service = start({ leak: 'objects', most: 700_000 }, { heapUsedPercent: 50 }, { wrapper })
    const told = await reportWith(service, 'code')
    expect(told).toMatchObject({ trigger: 'heap', code: 'ERR_STILLFRAME_MEMORY_LIMIT' })
    service.tell('well?')
    await reportWith(service, 'lives')
    await service.clear()
    expect(files()).toEqual([])
  })

  test('not again before the cool-down is over', async () => {
    const service = start({ leak: 'none' }, { rssBytes: MiB, nearHeapLimit: false, coolDownMs: 600_000 })
    expect(await service.report()).toMatchObject({ watching: service.pid })
    expect(await service.report()).toMatchObject({ capture: { trigger: 'rss' } })
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(service.hasReport).toBe(false)
    await service.clear()
  })
})

test('only the latest files of watches are kept, and those of others are left alone', async () => {
  const old = (day: number): string => `heap-1-2020-01-0${day}T00-00-00.000Z-rss.heapsnapshot`
  for (const name of [old(1), old(2), old(3), 'heap-1-2020-01-01T00-00-00.000Z.heapsnapshot', 'other'])
    writeFileSync(inDirectory(name), '')
  const service = start({ leak: 'none' }, { rssBytes: MiB, nearHeapLimit: false, keep: 2 })
  await reportWith(service, 'capture')
  await service.clear()
  const left = files()
  expect(left).toHaveLength(4)
  expect(left).toEqual(
    expect.arrayContaining([old(3), 'heap-1-2020-01-01T00-00-00.000Z.heapsnapshot', 'other']),
  )
})

test('after stop() nothing happens any more', async () => {
  const service = start({ leak: 'none' }, { rssBytes: 10_000 * MiB })
  await service.report()
  service.tell('stop')
  await service.report()
  service.tell('stop')
  expect(await service.report()).toEqual({ lives: 'stop' })
  await service.clear()
})

test('wrong options are refused before anything happens', () => {
  mkdirSync(inDirectory('d'))
  writeFileSync(inDirectory('file'), '')
  const directory = inDirectory('d')
  const codeOf = (options: unknown): unknown =>
    (thrownBy(() => watchMemory(options as MemoryWatchOptions)) as { code?: string }).code
  expect(codeOf(undefined)).toBe('ERR_INVALID_ARG_TYPE')
  expect(codeOf({ directory, rss: 1 })).toBe('ERR_INVALID_ARG_VALUE')
  expect(codeOf({ directory, rssBytes: '2GiB' })).toBe('ERR_INVALID_ARG_TYPE')
  expect(codeOf({ directory, cgroupPercent: 101 })).toBe('ERR_OUT_OF_RANGE')
  expect(codeOf({ directory, heapUsedPercent: 0 })).toBe('ERR_OUT_OF_RANGE')
  expect(codeOf({ directory, everyMs: 1 })).toBe('ERR_OUT_OF_RANGE')
  expect(codeOf({ directory, keep: 0 })).toBe('ERR_OUT_OF_RANGE')
  expect(codeOf({ directory, nearHeapLimit: false })).toBe('ERR_INVALID_ARG_VALUE')
  expect(codeOf({ directory, onCapture: 1 })).toBe('ERR_INVALID_ARG_TYPE')
  expect(codeOf({ directory: join(directory, 'gone') })).toBe('ERR_STILLFRAME_IO')
  expect(codeOf({ directory: inDirectory('file') })).toBe('ERR_STILLFRAME_IO')
})
