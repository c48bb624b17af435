/**
 * Promise: a job in a forked copy reports its progress and its outcome, can be aborted at any
 * moment without a trace, and works wherever the package can be loaded. Proved with real copies,
 * which a callback keeps busy for as long as needed.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ForkJob, type ForkProgress, snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import { describe, expect, test } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { isGone, stateOf, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { valuesOf } from './values-of.js'

const inDirectory = useTemporaryDirectory()

/** Writes slightly more than the buffer holds, then computes for longer than any test may take. */
function writeAndLinger(out: { write(chunk: Uint8Array): void }): void {
  out.write(new Uint8Array((1 << 20) + 1))
  // Longer than a test may take, so that the job never ends by itself.
  const end = performance.now() + 300_000
  while (performance.now() < end);
}

const moments: [string, (job: ForkJob) => Promise<void>][] = [
  ['at once', async () => {}],
  ['in the next turn of the loop', async () => await new Promise(setImmediate)],
  [
    'once it has written',
    async (job) => await waitUntil(() => job.progress.bytesWritten > 0, 'something is written'),
  ],
  [
    'while it is stopped',
    async (job) => {
      await waitUntil(() => job.progress.bytesWritten > 0, 'something is written')
      process.kill(job.pid, 'SIGSTOP')
      await waitUntil(() => stateOf(job.pid) === 'T', 'it is stopped')
    },
  ],
]

describe.each(moments)('ended early, %s', (_, moment) => {
  function expectNoTrace(job: ForkJob): void {
    expect(isGone(job.pid)).toBe(true)
    expect(readdirSync(inDirectory())).toEqual(['file'])
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('old')
  }

  test('by abort()', async () => {
    writeFileSync(inDirectory('file'), 'old')
    const job = snapshotState(inDirectory('file'), writeAndLinger)
    await moment(job)
    job.abort()
    expect(await rejectionOf(job.done)).toMatchObject({ name: 'AbortError' })
    expectNoTrace(job)
    job.abort('again')
  })

  test('by a signal, with its reason', async () => {
    writeFileSync(inDirectory('file'), 'old')
    const controller = new AbortController()
    const job = snapshotState(inDirectory('file'), writeAndLinger, { signal: controller.signal })
    await moment(job)
    const reason = new Error('shutting down')
    controller.abort(reason)
    expect(await rejectionOf(job.done)).toBe(reason)
    expectNoTrace(job)
  })

  test('by await using', async () => {
    writeFileSync(inDirectory('file'), 'old')
    const taken = await (async () => {
      await using job = snapshotState(inDirectory('file'), writeAndLinger)
      await moment(job)
      return job
    })()
    expectNoTrace(taken)
  })
})

describe('ended early', () => {
  test('a heap snapshot in the middle of its walk', async () => {
    const job = writeHeapSnapshot(inDirectory('file'))
    await waitUntil(() => job.progress.stepsDone > 0, 'the walk has begun')
    job.abort()
    expect(await rejectionOf(job.done)).toMatchObject({ name: 'AbortError' })
    expect(isGone(job.pid)).toBe(true)
    expect(readdirSync(inDirectory())).toEqual([])
  })

  test('before it begins, it does not begin', () => {
    const signal = AbortSignal.abort('no')
    expect(thrownBy(() => snapshotState(inDirectory('file'), () => {}, { signal }))).toBe('no')
    expect(thrownBy(() => writeHeapSnapshot(inDirectory('file'), { signal }))).toBe('no')
    expect(readdirSync(inDirectory())).toEqual([])
  })

  test('after its end, nothing changes', async () => {
    const controller = new AbortController()
    const job = snapshotState(inDirectory('file'), (out) => out.write('x'), { signal: controller.signal })
    await job.done
    controller.abort()
    job.abort()
    await job[Symbol.asyncDispose]()
    expect((await job.done).fileSize).toBe(1)
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('x')
  })

  test('a copy that takes too long is given up, and not tried again', async () => {
    const job = snapshotState(inDirectory('file'), writeAndLinger, { timeoutMs: 300 })
    const { pid } = job
    expect(await rejectionOf(job.done)).toMatchObject({
      code: 'ERR_STILLFRAME_STALLED',
      message: expect.stringContaining('timeoutMs'),
    })
    expect(job.pid).toBe(pid)
    expect(isGone(pid)).toBe(true)
    expect(readdirSync(inDirectory())).toEqual([])
  })
})

describe('progress', () => {
  /** Writes three pieces, with time between them for the test to look. */
  function writeSlowly(out: { write(chunk: Uint8Array): void }): void {
    for (let piece = 0; piece < 3; piece++) {
      out.write(new Uint8Array(1 << 20))
      const end = performance.now() + 200
      while (performance.now() < end);
    }
  }

  test('onProgress sees it grow, and the end before `done` resolves', async () => {
    const seen: ForkProgress[] = []
    const job = snapshotState(inDirectory('file'), writeSlowly, { onProgress: (now) => seen.push(now) })
    await job.done.then(() => seen.push({ bytesWritten: -1, stepsDone: 0, stepsTotal: 0, copiedBytes: 0 }))
    const bytes = seen.map(({ bytesWritten }) => bytesWritten)
    expect(bytes.pop()).toBe(-1)
    expect(bytes.at(-1)).toBe(3 << 20)
    expect(bytes).toEqual([...bytes].sort((a, b) => a - b))
    expect(bytes.some((now) => now > 0 && now < 3 << 20)).toBe(true)
    expect(seen.some(({ copiedBytes }) => copiedBytes > 0)).toBe(true)
  })

  test('can be iterated over', async () => {
    const seen: number[] = []
    const job = snapshotState(inDirectory('file'), writeSlowly)
    for await (const { bytesWritten } of job) seen.push(bytesWritten)
    expect(seen.length).toBeGreaterThan(1)
    expect(seen.at(-1)).toBe(3 << 20)
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    expect(existsSync(inDirectory('file'))).toBe(true)
  })

  test('an iteration throws what `done` rejects with', async () => {
    const job = snapshotState(inDirectory('file'), (out) => {
      writeSlowly(out)
      throw new Error('in the end')
    })
    const iterate = async (): Promise<void> => {
      for await (const _ of job);
    }
    const error = await rejectionOf(iterate())
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CALLBACK', cause: { message: 'in the end' } })
    expect(await rejectionOf(job.done)).toBe(error)
  })

  test('of a heap snapshot counts the steps of the walk', async () => {
    const job = writeHeapSnapshot(inDirectory('file'))
    const { fileSize } = await job.done
    const { bytesWritten, stepsDone, stepsTotal } = job.progress
    expect(bytesWritten).toBe(fileSize)
    expect(stepsTotal).toBeGreaterThan(0)
    expect(stepsDone).toBeGreaterThan(0)
  })

  test('what onProgress throws is not swallowed, and does not end the job', async () => {
    const fixture = startFixture(new URL('fixtures/progress-throws.mjs', import.meta.url), [
      inDirectory('file'),
    ])
    expect(await fixture.report()).toEqual({ uncaught: 'from onProgress' })
    expect(await fixture.report()).toEqual({ fileSize: 7 })
  })
})

test('nobody but the package makes a ForkJob', () => {
  const Constructor = ForkJob as unknown as new () => ForkJob
  expect(thrownBy(() => new Constructor())).toBeInstanceOf(TypeError)
})

test('a failure that nobody looks at is an unhandled rejection, with the place of the call', async () => {
  const fixture = startFixture(new URL('fixtures/unseen-failure.mjs', import.meta.url), [inDirectory('file')])
  const { code, stack } = await fixture.report()
  expect(code).toBe('ERR_STILLFRAME_CALLBACK')
  expect(stack).toContain('theCaller')
  expect(await fixture.end).toMatchObject({ status: 0 })
})

test('a process lives until its job has ended, and no longer', async () => {
  const fixture = startFixture(new URL('fixtures/only-a-job.mjs', import.meta.url), [inDirectory('file')])
  expect(await fixture.end).toMatchObject({ status: 0, stderr: '' })
  expect(readFileSync(inDirectory('file'), 'utf8')).toBe('written')
})

describe('the default name', () => {
  const name = (pid: number, thread: number, number: string): RegExp =>
    new RegExp(`^Heap\\.\\d{8}\\.\\d{6}\\.${pid}\\.${thread}\\.${number}\\.heapsnapshot$`)

  test('of heap snapshots tells time, process, thread and number, in the working directory', async () => {
    const fixture = startFixture(new URL('fixtures/default-names.mjs', import.meta.url), [], {
      cwd: inDirectory(),
    })
    const { files } = await fixture.report()
    const expected = [
      [0, '001'],
      [0, '002'],
      [1, '001'],
    ] as const
    for (const [index, [thread, number]] of expected.entries()) {
      const file = files[index] as string
      expect(file).toBe(join(inDirectory(), file.slice(inDirectory().length)))
      expect(file.slice(inDirectory().length).replace('/', '')).toMatch(name(fixture.pid, thread, number))
      expect(JSON.parse(readFileSync(file, 'utf8'))).toHaveProperty('snapshot.node_count')
    }
  })
})

describe('works', () => {
  test('in a Worker, whose JavaScript it is that the file is of', async () => {
    const fixture = startFixture(new URL('fixtures/in-worker.mjs', import.meta.url), [
      inDirectory('file'),
      inDirectory('heap'),
    ])
    expect(await fixture.report()).toEqual({ states: ['fulfilled', 'fulfilled', 'fulfilled'] })
    expect(await valuesOf(inDirectory('file'))).toEqual([{ thread: 1, marker: 'of the worker' }])
    const heap = readFileSync(inDirectory('heap'), 'utf8')
    expect(heap).toContain('MarkerOfTheWorker')
    expect(heap).not.toContain('MarkerOfTheMainThread')
    expect(await fixture.end).toMatchObject({ status: 0, stderr: '' })
  })

  test('by require()', async () => {
    const fixture = startFixture(new URL('fixtures/by-require.cjs', import.meta.url), [inDirectory('file')])
    expect(await fixture.report()).toEqual({ values: ['by require()'], refused: true })
    expect((await fixture.end).status).toBe(0)
  })
})
