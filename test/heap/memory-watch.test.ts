/**
 * Promise: a service that is about to run out of memory leaves a complete heap snapshot of its
 * leak, and dies as it would without stillframe; a service that survives continues. The file is
 * complete or absent, whatever ends the service while the copy is working. Proved on separate
 * services with real leaks, limits and deaths.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { describe, expect, type TestContext, test } from 'vitest'
import {
  type HeapSummary,
  type MemoryWatchOptions,
  preflightHeap,
  watchMemory,
} from '../../lib/heap/index.js'
import { parseTriggers } from '../../lib/heap/triggers.js'
import { thrownBy } from '../support/expect-error.js'
import { type Fixture, type FixtureEnd, type FixtureOptions, startFixture } from '../support/fixture.js'
import { classesIn } from '../support/heap-classes.mjs'
import { heldCopyOf, holdCopies } from '../support/held-copy.js'
import { memoryCgroup } from '../support/memory-cgroup.js'
import { needsRoot, needsTools } from '../support/needs.js'
import { hasEnded, nameOf, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const libraryIn = useTemporaryDirectory()
const program = new URL('fixtures/watched.mjs', import.meta.url)
const MiB = 1 << 20

interface Plan {
  leak: 'objects' | 'closures' | 'buffers' | 'pages' | 'none'
  most?: number
  loop?: boolean
  worker?: number
}

function start(
  plan: Plan,
  options: Partial<MemoryWatchOptions> = {},
  { heapMiB = 20, ...process }: FixtureOptions & { heapMiB?: number } = {},
): Fixture {
  const directory = inDirectory()
  // A Worker would inherit this limit, whatever its own.
  const nodeOptions = plan.worker === undefined ? [`--max-old-space-size=${heapMiB}`] : []
  const given = [JSON.stringify({ directory, everyMs: 20, ...options }), JSON.stringify(plan)]
  return startFixture(program, given, { nodeOptions, ...process })
}

/** A service with a leak that it survives, and whose first copies are held. */
function startHolding(
  context: TestContext,
  options: Partial<MemoryWatchOptions>,
  copies = 1,
  after: 'start' | 'summary' = 'start',
): Fixture {
  const held = holdCopies(context, libraryIn('held_copy.so'), copies, after)
  const patient = { stallTimeoutMs: 240_000, ...options }
  return start({ leak: 'objects', most: 200_000 }, patient, { heapMiB: 1024, ...held })
}

async function reportWith(service: Fixture, key: string): Promise<Record<string, unknown>> {
  let report = await service.report()
  while (report[key] === undefined) report = await service.report()
  return report
}

const files = (): string[] => readdirSync(inDirectory())
const snapshots = (): string[] => files().filter((name) => name.endsWith('.heapsnapshot'))

const summaries = (): string[] => files().filter((name) => name.endsWith('.heapsummary.json'))

async function theFile(): Promise<string> {
  // The copy removes its summary once the snapshot is published.
  await waitUntil(() => snapshots().length > 0 && summaries().length === 0, 'there is a file')
  expect(files()).toEqual(snapshots())
  return inDirectory(snapshots()[0])
}

async function expectLeakIn(path: string): Promise<void> {
  const classes = await classesIn(path)
  const ofProgram = classes.filter(({ name }) => !/^[(]/.test(name) && name !== 'Array')
  expect(ofProgram[0]?.name).toBe('PlantedLeak')
  expect(ofProgram[0]?.count).toBeGreaterThan(100_000)
}

function expectLeakInSummary(trigger: string): void {
  const summary = JSON.parse(readFileSync(inDirectory(summaries()[0]), 'utf8')) as HeapSummary
  expect(summary).toMatchObject({ format: 'stillframe-heap-summary', trigger, thread: 0, complete: true })
  const ofProgram = summary.classes?.filter(({ name }) => !/^[(]|^system/.test(name) && name !== 'Array')
  expect(ofProgram?.[0]?.name).toBe('PlantedLeak')
  expect(ofProgram?.[0]?.count).toBeGreaterThan(50_000)
}

describe('near the heap limit', () => {
  test.each(['in a loop', 'from timers'])(
    'a service with a leak %s leaves it in a file, and dies',
    async (how) => {
      const service = start({ leak: 'objects', loop: how === 'in a loop' })
      const { status, signal, stderr } = await service.end
      // V8 aborts. A shell in between would report this as status 134.
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
    // A function with its context. There are 80,000 or more, depending on the version of V8.
    expect(closures?.count).toBeGreaterThan(50_000)
  })

  test('a Worker with a limit of its own ends as without us, and the service goes on', async () => {
    const service = start({ leak: 'objects', worker: 32 })
    expect((await reportWith(service, 'worker'))['worker']).toBe('ERR_WORKER_OUT_OF_MEMORY')
    await expectLeakIn(await theFile())
    expect(snapshots()[0]).toMatch(/^heap-\d+\.\d+-/)
    service.tell('still there?')
    expect(await reportWith(service, 'lives')).toEqual({ lives: 'still there?' })
    await service.clear()
  })

  test('where there is no memory for a snapshot it leaves a summary, and dies', async () => {
    const service = start({ leak: 'objects' }, { memoryLimit: 100 * MiB })
    expect(await service.end).toMatchObject({ status: null, signal: 'SIGABRT' })
    await waitUntil(() => summaries().length > 0, 'there is a summary')
    expect(files()).toEqual(summaries())
    expectLeakInSummary('near-heap-limit')
  })

  test('when the leak ends in time the service goes on, and the next time it is caught again', async () => {
    const service = start({ leak: 'objects', most: 330_000 }, { coolDownMs: 0 }, { heapMiB: 32 })
    await reportWith(service, 'capture')
    service.tell('well?')
    expect(await reportWith(service, 'lives')).toEqual({ lives: 'well?' })
    // The service drops the leaked objects, and starts an endless leak.
    service.tell('again')
    expect(await service.end).toMatchObject({ signal: 'SIGABRT' })
    await waitUntil(() => snapshots().length >= 2, 'there is a second file')
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
    test(`the service ${how}: the file is whole`, async (context) => {
      const service = startHolding(context, { heapUsedBytes: 12 * MiB })
      const copy = await heldCopyOf(service.pid)
      end(service)
      await service.end
      expect(snapshots()).toEqual([])
      process.kill(copy, 'SIGCONT')
      await expectWhole(await theFile())
    })
  }

  test('the copy is killed: no file, no rest of one, and the service is told', async (context) => {
    const service = startHolding(context, { heapUsedBytes: 12 * MiB, whenTooBig: 'skip' })
    process.kill(await heldCopyOf(service.pid), 'SIGKILL')
    const told = await reportWith(service, 'code')
    expect(told).toMatchObject({ trigger: 'heap', code: 'ERR_STILLFRAME_CHILD_DIED' })
    expect(files()).toEqual([])
    await service.clear()
  })

  test('the copy is killed after it has written a summary: that is left, and the service is told', async (context) => {
    const service = startHolding(context, { heapUsedBytes: 12 * MiB }, 1, 'summary')
    process.kill(await heldCopyOf(service.pid), 'SIGKILL')
    const { capture } = await reportWith(service, 'capture')
    expect(capture).toMatchObject({
      trigger: 'heap',
      kind: 'summary',
      path: inDirectory(summaries()[0]),
      code: 'ERR_STILLFRAME_CHILD_DIED',
    })
    expect(files()).toEqual(summaries())
    expectLeakInSummary('heap')
    await service.clear()
  })

  test('a copy that nobody watches over any more ends when its time is up', async (context) => {
    const limits = { heapUsedBytes: 12 * MiB, timeoutMs: 500, whenTooBig: 'skip' } as const
    const service = startHolding(context, limits)
    const copy = await heldCopyOf(service.pid)
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

/** Makes the copy wait forever, as for a lock that a thread of the service held at the fork. */
function makeWaitForEver(copy: number): void {
  const futex = process.arch === 'arm64' ? 98 : 202
  const wait = `(long)syscall(${futex}, $sp, 128, *(int*)$sp, 0)` // FUTEX_WAIT, private
  // SIGSTOP stopped the copy, and it must resume inside the call.
  const commands = ['handle SIGSTOP nostop noprint nopass', `print ${wait}`].flatMap((one) => ['-ex', one])
  const { stdout } = spawnSync('gdb', ['-batch', '-p', String(copy), ...commands], {
    encoding: 'utf8',
    timeout: 100_000,
  })
  expect(hasEnded(copy) || nameOf(copy) !== 'stillframe', stdout).toBe(true)
}

describe('a copy that waits for a lock of another thread', () => {
  /**
   * Makes this number of copies wait, one after another. Returns the service, and a function for
   * its stderr.
   */
  async function makeCopiesWait(context: TestContext, count: number): Promise<[Fixture, () => string]> {
    needsRoot(context, 'to make the copy wait, with gdb')
    needsTools(context, 'gdb')
    const service = startHolding(context, { heapUsedBytes: 12 * MiB, whenTooBig: 'skip' }, count)
    let stderr = ''
    service.child.stderr?.on('data', (chunk) => {
      stderr += chunk
    })
    for (let i = 0; i < count; i++) makeWaitForEver(await heldCopyOf(service.pid))
    return [service, () => stderr]
  }
  const again = /^stillframe: heap: the copy had to wait for a lock of another thread; another one is made$/gm
  const times = (said: string): number => said.match(again)?.length ?? 0

  test('is made again', async (context) => {
    const [service, said] = await makeCopiesWait(context, 1)
    expect((await reportWith(service, 'capture'))['capture']).toMatchObject({ trigger: 'heap' })
    await waitUntil(() => times(said()) === 1, 'it has been said')
    expect(said()).not.toContain('no heap snapshot')
    await expectLeakIn(await theFile())
    await service.clear()
  })

  test('is given up when it has happened four times', async (context) => {
    const [service, said] = await makeCopiesWait(context, 4)
    const told = await reportWith(service, 'code')
    expect(told).toMatchObject({ trigger: 'heap', code: 'ERR_STILLFRAME_CHILD_DIED' })
    await waitUntil(() => times(said()) === 3, 'it has been said three times')
    expect(files()).toEqual([])
    await service.clear()
  })
})

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

  test('RSS in a loop that never returns, and in which nothing is allocated', async () => {
    const service = start({ leak: 'pages' }, { rssBytes: 200 * MiB, nearHeapLimit: false })
    await service.report()
    // The service cannot report the capture.
    await waitUntil(() => files().some((name) => name.startsWith('heap-')), 'there is a file', 20_000)
    await service.clear()
  })

  test('RSS of a service that waits in its event loop', async () => {
    const service = start({ leak: 'none' }, { rssBytes: MiB, nearHeapLimit: false })
    expect(await firstCapture(service)).toMatchObject({ trigger: 'rss', kind: 'snapshot' })
  })

  test('per cent of the heap', async () => {
    const service = start({ leak: 'objects', most: 1_500_000 }, { heapUsedPercent: 8 }, { heapMiB: 256 })
    const capture = await firstCapture(service)
    expect(capture).toMatchObject({ trigger: 'heap', kind: 'snapshot' })
    expect(capture['heapBytes']).toBeGreaterThan(0.08 * 256 * MiB)
    expect(capture['path']).toBe(await theFile())
    expect(capture['fileSize']).toBe(statSync(await theFile()).size)
  })

  test('per cent of a real cgroup', async (context) => {
    const { wrapper } = memoryCgroup(context, 1024 * MiB)
    const service = start({ leak: 'buffers', most: 500 }, { cgroupPercent: 40 }, { wrapper })
    expect(await firstCapture(service)).toMatchObject({ trigger: 'cgroup', kind: 'snapshot' })
  })

  describe('a heap that does not fit into what is left', () => {
    function startInCgroup(context: TestContext, options: Partial<MemoryWatchOptions>): Fixture {
      const { wrapper } = memoryCgroup(context, 320 * MiB)
      const plan = { leak: 'objects', most: 500_000 } as const
      return start(plan, { heapUsedPercent: 50, ...options }, { wrapper, heapMiB: 64 })
    }

    test('leaves a summary, and the service goes on', async (context) => {
      const service = startInCgroup(context, {})
      const { capture } = await reportWith(service, 'capture')
      expect(capture).toMatchObject({
        trigger: 'heap',
        kind: 'summary',
        path: inDirectory(summaries()[0]),
        code: 'ERR_STILLFRAME_MEMORY_LIMIT',
      })
      service.tell('well?')
      await reportWith(service, 'lives')
      await service.clear()
      expect((await service.end).stderr).toMatch(/process \d+ writes a heap summary to /)
      expect(files()).toEqual(summaries())
      expectLeakInSummary('heap')
    })

    test("is not copied with whenTooBig: 'skip'", async (context) => {
      const service = startInCgroup(context, { whenTooBig: 'skip' })
      const told = await reportWith(service, 'code')
      expect(told).toMatchObject({ trigger: 'heap', code: 'ERR_STILLFRAME_MEMORY_LIMIT' })
      service.tell('well?')
      await reportWith(service, 'lives')
      await service.clear()
      expect((await service.end).stderr).not.toMatch(/process \d+ writes/)
      expect(files()).toEqual([])
    })
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

describe('in a container', () => {
  const entry = fileURLToPath(new URL('../../examples/container-entry.sh', import.meta.url))

  /**
   * Runs a dying service as the first process of a PID namespace, or below a process that waits for
   * the copy.
   */
  async function runContainer(context: TestContext, first: readonly string[]): Promise<FixtureEnd> {
    needsRoot(context, 'to make a PID namespace')
    needsTools(context, 'unshare')
    const { wrapper } = memoryCgroup(context, 4096 * MiB)
    const namespace = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', ...first]
    return await start({ leak: 'objects' }, {}, { wrapper: [...wrapper, ...namespace] }).end
  }

  test('whose first process waits for the copy the file is there, and the status is the service’s', async (context) => {
    const { status, stderr } = await runContainer(context, ['sh', entry])
    expect(status).toBe(128 + constants.signals.SIGABRT)
    expect(stderr).toContain('JavaScript heap out of memory')
    expect(snapshots()).toHaveLength(1)
    await expectLeakIn(await theFile())
  })

  test('whose first process is the service the copy ends with it: no snapshot, a whole summary or none', async (context) => {
    await runContainer(context, [])
    expect(files()).toEqual(summaries())
    if (summaries().length > 0) expectLeakInSummary('near-heap-limit')
  })

  test('the script is the one of the documentation', () => {
    expect(readFileSync(new URL('../../docs/HEAP.md', import.meta.url), 'utf8')).toContain(
      readFileSync(entry, 'utf8'),
    )
  })
})

describe('as the environment asks for it', () => {
  test.each([
    ['near-heap-limit', { nearHeapLimit: true }],
    ['rss:2GiB, cgroup:85%', { nearHeapLimit: false, rssBytes: 2 ** 31, cgroupPercent: 85 }],
    ['heap:1.5GiB', { nearHeapLimit: false, heapUsedBytes: 1.5 * 2 ** 30 }],
    ['heap:80%,pressure:0.5%', { nearHeapLimit: false, heapUsedPercent: 80, pressurePercent: 0.5 }],
    ['rss:1000', { nearHeapLimit: false, rssBytes: 1000 }],
  ])('%s', (text, options) => {
    expect(parseTriggers(text)).toEqual({ options, problems: [] })
  })

  test.each([
    'rss',
    'rss:',
    'rss:85%',
    'rss:0',
    'rss:2GB',
    'rss:-1',
    'cgroup:1GiB',
    'cgroup:101%',
    'cgroup:0%',
    'heap:1e9',
    '__proto__:1',
    'oom',
  ])('%s is left out, and told', (text) => {
    const { options, problems } = parseTriggers(`${text},near-heap-limit`)
    expect(options).toEqual({ nearHeapLimit: true })
    expect(problems).toEqual([expect.stringContaining(`'${text}' is `)])
    expect(parseTriggers(text).options).toBeUndefined()
  })

  test.each([false, true])('by --import, without a change to the code; in a Worker: %s', async (inWorker) => {
    const signal = pathToFileURL(fileURLToPath(new URL('../../dist/heap/signal.js', import.meta.url))).href
    const service = startFixture(
      new URL('fixtures/leaks.mjs', import.meta.url),
      [inWorker ? 'worker' : 'main'],
      {
        nodeOptions: ['--import', signal, ...(inWorker ? [] : ['--max-old-space-size=32'])],
        env: { STILLFRAME_HEAP_AT: 'near-heap-limit,cgroup:1', STILLFRAME_HEAP_DIR: inDirectory() },
      },
    )
    const { stderr } = await service.end
    expect(stderr).toContain(
      "stillframe: STILLFRAME_HEAP_AT: 'cgroup:1' is not of the form cgroup:85%; it is ignored\n",
    )
    expect(stderr.split("'cgroup:1'")).toHaveLength(2)
    expect(await theFile()).toMatch(inWorker ? /heap-\d+\.\d+-/ : /heap-\d+-/)
    await expectLeakIn(await theFile())
  })
})

test('preflightHeap() tells what a heap snapshot needs, and what there is', async () => {
  const { heapBytes, neededBytes, availableBytes, predictedPauseMs, fits } = await preflightHeap()
  expect(heapBytes).toBeGreaterThan(4 * MiB)
  expect(neededBytes).toBe(13 * heapBytes)
  expect(availableBytes).toBeGreaterThan(MiB)
  expect(predictedPauseMs).toBeGreaterThan(0)
  expect(fits).toBe(neededBytes <= availableBytes)
  expect(await preflightHeap({ memoryLimit: 1000 })).toMatchObject({ availableBytes: 1000, fits: false })
  await expect(preflightHeap({ memoryLimit: 0 })).rejects.toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
})

test('only the latest files of watches are kept, and those of others are left alone', async () => {
  const old = (day: number): string => `heap-1-2020-01-0${day}T00-00-00.000Z-rss.heapsnapshot`
  for (const name of [old(1), old(3), old(4), 'heap-1-2020-01-01T00-00-00.000Z.heapsnapshot', 'other'])
    writeFileSync(inDirectory(name), '')
  mkdirSync(inDirectory(old(2))) // cannot be unlinked
  const service = start({ leak: 'none' }, { rssBytes: MiB, nearHeapLimit: false, keep: 2 })
  await reportWith(service, 'capture')
  await service.clear()
  const left = files()
  expect(left).toHaveLength(5)
  expect(left).toEqual(
    expect.arrayContaining([old(2), old(4), 'heap-1-2020-01-01T00-00-00.000Z.heapsnapshot', 'other']),
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
