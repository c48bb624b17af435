/**
 * Promise: whatever happens to a copy, the service continues, is notified, and keeps its signals,
 * children, sockets and descriptors (I4, I5, I7). Proved by stopping, killing and starving copies,
 * by hosts that ignore SIGCHLD or wait for any child, and by counting the resources that many jobs
 * leave.
 */

import { AsyncLocalStorage } from 'node:async_hooks'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { verify } from 'stillframe'
import { type ForkJob, readValues, type StateWriter, snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import { describe, expect, onTestFinished, test } from 'vitest'
import { compileLibrary } from '../support/compile.js'
import { expectFreePortAfterKill, sockets, tryWithFewDescriptors } from '../support/ending-service.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { signalState } from '../support/footprint.mjs'
import { heldText, holdJob } from '../support/held-job.mjs'
import { bigRegion, holdSnapshot } from '../support/held-snapshot.mjs'
import { longMode } from '../support/long-mode.mjs'
import { memoryCgroup } from '../support/memory-cgroup.js'
import { needsTools } from '../support/needs.js'
import { hashOf } from '../support/pattern.mjs'
import { bind } from '../support/port.js'
import { childrenOf, hasEnded, isGone, stateOf, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { startTicking } from '../support/ticking.js'

const inDirectory = useTemporaryDirectory()
const someWork = new URL('../support/fixtures/some-work.mjs', import.meta.url)

/** Waits for the copy that a job makes after it has lost the first one. */
async function secondCopyOf(job: ForkJob, first: number): Promise<number> {
  await waitUntil(() => job.pid !== first, 'there is another copy')
  return job.pid
}

/**
 * Writes an old file, and returns a check that it is unchanged and that no other file and no child
 * is left.
 */
function oldFile(): () => void {
  writeFileSync(inDirectory('file'), 'old')
  return () => {
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('old')
    expect(readdirSync(inDirectory())).toEqual(['file'])
    expect(childrenOf(process.pid)).toEqual([])
  }
}

async function expectNextJobWorks(): Promise<void> {
  expect(await snapshotState(inDirectory('file'), (out) => out.write('next')).done).toMatchObject({
    attempts: 1,
  })
  expect(readFileSync(inDirectory('file'), 'utf8')).toBe('next')
}

describe('a copy that is killed', () => {
  for (const signal of ['SIGKILL', 'SIGSEGV'] as const) {
    test(`once by ${signal} is made again`, async () => {
      const { job, pid, release } = holdJob(inDirectory('file'))
      process.kill(pid, signal)
      const second = await secondCopyOf(job, pid)
      expect(isGone(pid)).toBe(true)
      release()
      expect(await job.done).toMatchObject({ attempts: 2 })
      expect(readFileSync(inDirectory('file'), 'latin1').endsWith(heldText)).toBe(true)
      expect(isGone(second)).toBe(true)
    })

    test(`twice by ${signal} is reported by its name`, async () => {
      const expectOldFile = oldFile()
      const { job, pid } = holdJob(inDirectory('file'))
      process.kill(pid, signal)
      process.kill(await secondCopyOf(job, pid), signal)
      const error = await rejectionOf(job.done)
      expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_CHILD_DIED' })
      expect(error.message).toContain(signal)
      expectOldFile()
      await expectNextJobWorks()
    })
  }
})

describe('a signal that is meant for the service', () => {
  test('does nothing to a copy, and no handler of the host runs in it', async () => {
    let handled = 0
    const count = (): void => void handled++
    process.on('SIGTERM', count)
    onTestFinished(() => void process.off('SIGTERM', count))
    const { job, pid, release } = holdJob(inDirectory('file'))
    for (const signal of [
      'SIGTERM',
      'SIGINT',
      'SIGHUP',
      'SIGQUIT',
      'SIGUSR1',
      'SIGUSR2',
      'SIGTSTP',
    ] as const) {
      process.kill(pid, signal)
    }
    release()
    expect(await job.done).toMatchObject({ attempts: 1 })
    expect(handled).toBe(0)
  })
})

describe('a copy that is lost', () => {
  test('is made again in the async context of the call', async () => {
    const context = new AsyncLocalStorage<string>()
    const writeStore = (out: StateWriter): void => {
      out.write(new Uint8Array(2 << 20))
      const store = context.getStore()
      while (existsSync(inDirectory('first')));
      out.write(String(store))
    }
    writeFileSync(inDirectory('first'), '')
    const job = context.run('of the caller', () => snapshotState(inDirectory('file'), writeStore))
    const { pid } = job
    process.kill(pid, 'SIGKILL')
    await secondCopyOf(job, pid)
    rmSync(inDirectory('first'))
    expect(await job.done).toMatchObject({ attempts: 2 })
    expect(readFileSync(inDirectory('file'), 'latin1').endsWith('of the caller')).toBe(true)
  })

  test('of a job that may only be of its instant is not made again', async () => {
    const expectOldFile = oldFile()
    const { job, pid } = holdJob(inDirectory('file'), { retry: false })
    process.kill(pid, 'SIGKILL')
    expect(await rejectionOf(job.done)).toMatchObject({ code: 'ERR_STILLFRAME_CHILD_DIED' })
    expect(job.pid).toBe(pid)
    expectOldFile()
    await expectNextJobWorks()
  })
})

describe('a copy that is stuck', () => {
  test('because it is stopped is killed and made again', async () => {
    const { job, pid, release } = holdJob(inDirectory('file'), { stallTimeoutMs: 3000 })
    release()
    process.kill(pid, 'SIGSTOP')
    await secondCopyOf(job, pid)
    expect(isGone(pid)).toBe(true)
    expect(await job.done).toMatchObject({ attempts: 2 })
  })

  test('for the second time is reported, and the service answers throughout', async () => {
    const expectOldFile = oldFile()
    const ticks = startTicking()
    const { job, pid } = holdJob(inDirectory('file'), { stallTimeoutMs: 3000 })
    process.kill(pid, 'SIGSTOP')
    process.kill(await secondCopyOf(job, pid), 'SIGSTOP')
    const error = await rejectionOf(job.done)
    expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_STALLED' })
    expect(error.message).toContain('(stallTimeoutMs)')
    expect(ticks()).toBeGreaterThan(10)
    expectOldFile()
    await expectNextJobWorks()
  })

  test('because it waits for a thread that it does not have is found out at once, and reported', async () => {
    const expectOldFile = oldFile()
    const nobodyWakes = new Int32Array(new SharedArrayBuffer(4))
    const wait = (): void => void Atomics.wait(nobodyWakes, 0, 0)
    const job = snapshotState(inDirectory('file'), wait)
    const error = await rejectionOf(job.done)
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CHILD_DIED' })
    expect(error.message).toContain('a lock that another thread')
    expectOldFile()
    await expectNextJobWorks()
  })

  test('in a computation that does not end is given up in the end, and not before', async () => {
    const expectOldFile = oldFile()
    const ticks = startTicking()
    const spin = (): void => {
      for (;;);
    }
    // On a busy machine a copy may wait for the processor for some 100 ms, and for seconds at its
    // usual niceness.
    const options = { stallTimeoutMs: 1500, timeoutMs: 4000, nice: 0 }
    const job = snapshotState(inDirectory('file'), spin, options)
    const { pid } = job
    const error = await rejectionOf(job.done)
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_STALLED' })
    // Not stallTimeoutMs: a copy that uses the processor is not stuck. There is no second attempt.
    expect(error.message).toContain('(timeoutMs)')
    expect(job.pid).toBe(pid)
    expect(isGone(pid)).toBe(true)
    expect(ticks()).toBeGreaterThan(10)
    expectOldFile()
    await expectNextJobWorks()
  })

  test('ends at once when the job is aborted', async () => {
    const expectOldFile = oldFile()
    const { job, pid } = holdJob(inDirectory('file'))
    process.kill(pid, 'SIGSTOP')
    job.abort('enough')
    await expect(job.done).rejects.toBe('enough')
    expect(isGone(pid)).toBe(true)
    expectOldFile()
  })
})

describe('a copy that needs much memory', () => {
  test('is ended at the limit that the caller set', async () => {
    const expectOldFile = oldFile()
    const fill = (): void => {
      const kept = []
      for (;;) kept.push(Buffer.alloc(1 << 20, 1))
    }
    const job = snapshotState(inDirectory('file'), fill, { memoryLimit: 200 << 20 })
    const error = await rejectionOf(job.done)
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_MEMORY_LIMIT' })
    expect(job.progress.copiedBytes).toBeGreaterThan(200 << 20)
    expectOldFile()
    await expectNextJobWorks()
  })

  test('has more of it than the limit of V8 gives to the service', async () => {
    const fixture = startFixture(
      new URL('fixtures/fill-heap.mjs', import.meta.url),
      [inDirectory('file'), '150'],
      {
        nodeOptions: [
          '--max-old-space-size=60',
          '--heapsnapshot-near-heap-limit=2',
          '--report-on-fatalerror',
        ],
        cwd: inDirectory(),
      },
    )
    expect(await fixture.report()).toEqual({ ok: true })
    expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
    expect(readdirSync(inDirectory())).toEqual(['file'])
  })

  test('and does not get it from the kernel is told apart, and writes no report of the host', async (context) => {
    needsTools(context, 'prlimit')
    const fixture = startFixture(
      new URL('fixtures/fill-heap.mjs', import.meta.url),
      [inDirectory('file'), '4000'],
      {
        wrapper: ['prlimit', '--data=700000000'],
        nodeOptions: ['--heapsnapshot-near-heap-limit=2', '--report-on-fatalerror'],
        cwd: inDirectory(),
      },
    )
    expect(await fixture.report()).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_CHILD_OOM' })
    expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
    expect(readdirSync(inDirectory())).toEqual([])
  })

  test('of a container that has none left is taken first, and the service goes on', async (context) => {
    const { wrapper } = memoryCgroup(context, 400 << 20)
    for (let round = 0; round < (longMode ? 20 : 1); round++) {
      const fixture = startFixture(
        new URL('fixtures/fill-heap.mjs', import.meta.url),
        [inDirectory('file'), '4000', String(2 ** 40)],
        { wrapper },
      )
      expect(await fixture.report()).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_CHILD_OOM' })
      expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
      expect(readdirSync(inDirectory())).toEqual([])
    }
  })
})

describe('the signals of the service', () => {
  test('have the same masks and dispositions before, during and after a job', async () => {
    const before = signalState()
    const { job, release } = holdJob(inDirectory('file'))
    expect(signalState()).toEqual(before)
    release()
    await job.done
    expect(signalState()).toEqual(before)
    expect(before).toHaveLength(5)
  })

  test('are as before when the job could not begin', async () => {
    const before = signalState()
    thrownBy(() => snapshotState(inDirectory('missing/file'), () => {}))
    expect(signalState()).toEqual(before)
  })
})

describe('the children of the service', () => {
  test(
    'all report how they ended, while jobs run',
    async () => {
      const count = longMode ? 1000 : 300
      const fixture = startFixture(new URL('../support/fixtures/spawns.mjs', import.meta.url), [
        'job',
        inDirectory(),
        String(count),
      ])
      const { started, wrong, saved } = await fixture.report(longMode ? 170_000 : undefined)
      expect(wrong).toEqual([])
      expect(started).toBe(count)
      expect(saved).toBeGreaterThan(0)
    },
    longMode ? 180_000 : undefined,
  )

  test('may be ignored: with SIGCHLD ignored, each job comes to its end', async (context) => {
    needsTools(context, 'cc')
    const library = inDirectory('ignore_sigchld.so')
    compileLibrary(new URL('../support/fixtures/ignore_sigchld.c', import.meta.url), library)
    const fixture = startFixture(someWork, ['job', inDirectory('file'), '10'], { preload: library })
    const { outcomes, killed, ignored, children } = await fixture.report()
    expect(BigInt(`0x${ignored}`) & (1n << BigInt(constants.signals.SIGCHLD - 1))).not.toBe(0n)
    expect(outcomes).toEqual(Array.from({ length: 10 }, () => ({ ok: true })))
    expect(killed).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_CHILD_DIED' })
    expect(children).toBe(0)
  })

  test('may be waited for by others: each job comes to its end beside a foreign waitpid(-1)', async (context) => {
    needsTools(context, 'cc')
    const library = inDirectory('foreign_waiter.so')
    compileLibrary(new URL('../support/fixtures/foreign_waiter.c', import.meta.url), library)
    const fixture = startFixture(someWork, ['job', inDirectory('file'), '20'], { preload: library })
    const { outcomes, killed, children } = await fixture.report()
    expect(outcomes).toEqual(Array.from({ length: 20 }, () => ({ ok: true })))
    expect(killed).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_CHILD_DIED' })
    expect(children).toBe(0)
    expect((await fixture.end).stderr).toContain('took own 7\n')
  })

  test('are told of by SIGCHLD, as is each copy, to hosts that listen for it', async () => {
    const fixture = startFixture(someWork, ['job', inDirectory('file'), '5'], { env: { LISTEN: '1' } })
    const { outcomes, killed, ended, children } = await fixture.report()
    expect(outcomes).toEqual(Array.from({ length: 5 }, () => ({ ok: true })))
    expect(killed).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_CHILD_DIED' })
    // Five copies and two killed ones. A signal that is already pending is not counted twice.
    expect(ended).toBeGreaterThan(0)
    expect(ended).toBeLessThanOrEqual(7)
    expect(children).toBe(0)
  })
})

describe('the sockets of the service', () => {
  test('reach their peer at once when they are closed, and ports that are closed can be bound by others', async () => {
    const service = startFixture(sockets, ['job', inDirectory('file')])
    const { port, pid } = await service.report()
    service.tell('destroy')
    expect(await service.report(5000)).toEqual({ peer: 'closed' })
    service.tell('unlisten')
    expect(await service.report(5000)).toEqual({ port: 'closed' })
    await bind(port)
    expect(hasEnded(pid)).toBe(false)
    service.tell('release')
    expect(await service.report()).toEqual({ ok: true })
  })

  test('leave a port that can be bound again as soon as the service has been killed', () =>
    expectFreePortAfterKill('job', inDirectory('file')))
})

test('without free descriptors a job fails with a typed error and leaves nothing behind', async (context) => {
  needsTools(context, 'prlimit')
  await tryWithFewDescriptors('job', inDirectory, (outcome, what) => {
    expect(outcome, what).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_IO' })
  })
})

test(
  'many jobs keep no descriptor, mapping, thread or child, and no memory of the service is kept from its children',
  async () => {
    const count = longMode ? 2000 : 150
    const fixture = startFixture(
      new URL('fixtures/many-jobs.mjs', import.meta.url),
      [inDirectory(), String(count)],
      {
        nodeOptions: ['--expose-gc'],
      },
    )
    const { before, after, forkable, keptFromChildren } = await fixture.report(longMode ? 600_000 : undefined)
    expect({ ...after, mappings: 0 }).toEqual({ ...before, mappings: 0 })
    expect(after.mappings - before.mappings).toBeLessThan(60)
    expect(forkable).toBe(0)
    expect(keptFromChildren).toEqual([])
    expect(readdirSync(inDirectory())).toEqual(['file'])
    expect(await fixture.end).toMatchObject({ status: 0 })
  },
  longMode ? 620_000 : undefined,
)

test('two jobs at once do not disturb each other, and to one file the second is refused', async () => {
  const first = holdJob(inDirectory('first'))
  expect(thrownBy(() => snapshotState(inDirectory('first'), () => {}))).toMatchObject({
    name: 'StillframeError',
    code: 'ERR_STILLFRAME_BUSY',
  })
  const second = holdJob(inDirectory('second'))
  expect(stateOf(first.pid)).not.toBe('Z')
  const third = snapshotState(inDirectory('third'), (out) => out.value('third'))
  await third.done
  first.release()
  expect(await first.job.done).toMatchObject({ attempts: 1 })
  second.release()
  expect(await second.job.done).toMatchObject({ attempts: 1 })
  const values = []
  for await (const value of readValues(inDirectory('third'))) values.push(value)
  expect(values).toEqual(['third'])
  const heap = writeHeapSnapshot(inDirectory('heap'))
  expect(await heap.done).toMatchObject({ attempts: 1 })
  expect(childrenOf(process.pid)).toEqual([])
})

test('a job and a snapshot() of a region run beside each other', async () => {
  const region = bigRegion()
  const hash = hashOf(region.buffer)
  const { taken, release } = holdSnapshot(region, inDirectory('region'))
  const held = holdJob(inDirectory('state'))
  release()
  await taken.done
  held.release()
  expect(await held.job.done).toMatchObject({ attempts: 1 })
  expect(await verify(inDirectory('region'))).toMatchObject({ ok: true })
  expect(hashOf(region.buffer)).toBe(hash)
  region.close()
})
