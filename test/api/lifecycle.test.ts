/**
 * Promise: a snapshot reports its progress and its outcome to the caller, exactly once and never
 * silently, and can be aborted at any time. Proved with a stand-in for the addon that ends captures
 * when the test says so, even within the few microseconds that a real addon never hits.
 */

import { syncBuiltinESMExports } from 'node:module'
import { resolve } from 'node:path'
import timers from 'node:timers'
import { inspect } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import {
  Snapshot,
  type SnapshotOptions,
  type SnapshotProgress,
  StillframeError,
  snapshot,
} from '../../lib/index.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { catchUnseen } from '../support/unseen.js'
import { captureResult, FakeAddon, FakeCapture, lastPlan, nativeFailure, settle } from './fake-addon.js'

let fake = new FakeAddon()
vi.mock('../../lib/addon/load.js', () => ({ loadAddon: () => fake.asAddon() }))

const path = '/tmp/never-written.stillframe'
const memory = new ArrayBuffer(100)
const take = (options?: SnapshotOptions): Snapshot => snapshot(memory, path, options)
const diskFull = nativeFailure('NO_SPACE', {
  message: 'cannot write',
  errno: 28,
  errnoName: 'ENOSPC',
  syscall: 'pwrite',
})

/** Reasons of unhandled rejections, and uncaught errors. */
const { unhandled, uncaught } = catchUnseen()

beforeEach(() => {
  fake = new FakeAddon()
})

/** Counts the interval timers that are started from here on and not cleared. */
function watchTimers(): { running: () => number; restore: () => void } {
  const running = new Set<unknown>()
  const { setInterval: make, clearInterval: clear } = timers
  const made = vi.spyOn(timers, 'setInterval').mockImplementation(((...args: Parameters<typeof make>) => {
    const timer = make(...args)
    running.add(timer)
    return timer
  }) as typeof make)
  const cleared = vi.spyOn(timers, 'clearInterval').mockImplementation((timer) => {
    running.delete(timer)
    clear(timer)
  })
  syncBuiltinESMExports()
  return {
    running: () => running.size,
    restore: () => {
      made.mockRestore()
      cleared.mockRestore()
      syncBuiltinESMExports()
    },
  }
}

describe('the call', () => {
  test('passes on the defaults', () => {
    const taken = snapshot(memory, 'relative.stillframe')
    expect(lastPlan()).toMatchObject({
      engine: 'fork',
      metadata: undefined,
      target: { path: resolve('relative.stillframe'), overwrite: true, mode: 0o600, durable: true },
      limits: { memoryLimit: 0, stallTimeoutMs: 60_000 },
    })
    expect(taken.path).toBe(resolve('relative.stillframe'))
    expect(Buffer.from(lastPlan().id).toString('hex')).toBe(taken.id.replaceAll('-', ''))
    expect(taken.id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    FakeCapture.last.succeed()
  })

  test('passes on what was asked for, and the metadata as it is now', () => {
    const metadata = { epoch: 1, list: [1] }
    const file = { overwrite: false, mode: 0o644, durable: false }
    const limits = { memoryLimit: 4096, stallTimeoutMs: 5 }
    take({ metadata, ...file, ...limits })
    metadata.list.push(2)
    expect(lastPlan()).toMatchObject({
      metadata: '{"epoch":1,"list":[1]}',
      target: { path, ...file },
      limits,
    })
    FakeCapture.last.succeed()
  })

  test('throws what fails before the freeze, with the stack of the caller', () => {
    fake.captureFailure = nativeFailure('EXISTS', { message: 'the file exists' })
    const error = thrownBy(function theCaller() {
      take()
    })
    expect(error).toBeInstanceOf(StillframeError)
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_EXISTS', path })
    expect(error.message).toContain(path)
    expect(error.stack?.split('\n')[1]).toMatch(/at take /)
  })

  test('frozenAt is the instant that native code reports; pauseMs is a duration', () => {
    const taken = take()
    expect(taken.frozenAt).toEqual(new Date(1_700_000_000_000.5))
    expect(taken.pauseMs).toBeGreaterThan(0)
    expect(taken.pauseMs).toBeLessThan(1000)
    FakeCapture.last.succeed()
  })

  test('is the only way to a Snapshot', () => {
    const Constructor = Snapshot as unknown as new () => Snapshot
    expect(thrownBy(() => new Constructor())).toBeInstanceOf(TypeError)
  })
})

describe('done', () => {
  test('resolves with the result', async () => {
    const taken = take()
    FakeCapture.last.succeed()
    expect(await taken.done).toEqual({
      id: taken.id,
      kind: 'full',
      path,
      engine: 'fork',
      faultHandling: 'kernel',
      byteLength: 100,
      changedBytes: captureResult.changedBytes,
      scannedBytes: captureResult.scannedBytes,
      fileSize: captureResult.fileSize,
      allocatedBytes: captureResult.allocatedBytes,
      pauseMs: taken.pauseMs,
      durationMs: captureResult.durationMs,
      pages: { total: 3, zero: 2, copied: 1 },
      copiedBytesPeak: 4096,
    })
  })

  test('rejects with a typed error that has the stack of the call', async () => {
    const taken = (function theCaller() {
      return take()
    })()
    const rejection = rejectionOf(taken.done)
    FakeCapture.last.fail(diskFull)
    const error = await rejection
    expect(error).toBeInstanceOf(StillframeError)
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_NO_SPACE', errno: -28, syscall: 'pwrite', path })
    expect(error.message).toMatch(
      /^\/tmp\/.*: cannot write \(ENOSPC: no space left on device, pwrite\)\. Free disk space/,
    )
    expect(error.stack).toMatch(/^StillframeError: .*cannot write/)
    expect(error.stack).toContain('theCaller')
    expect(error.stack).not.toContain('fake-addon')
  })

  test('is one promise', () => {
    const taken = take()
    expect(taken.done).toBe(taken.done)
    FakeCapture.last.succeed()
  })
})

describe('abort()', () => {
  test('rejects done with the reason, and asks native code once', async () => {
    const taken = take()
    const reason = new Error('enough')
    taken.abort(reason)
    taken.abort(new Error('again'))
    await settle()
    expect(FakeCapture.last.abortsAsked).toBe(1)
    expect(await rejectionOf(taken.done)).toBe(reason)
    expect(unhandled).toEqual([])
  })

  test('without a reason it is an AbortError', async () => {
    const taken = take()
    taken.abort()
    const error = await rejectionOf(taken.done)
    expect(error).toBeInstanceOf(DOMException)
    expect(error.name).toBe('AbortError')
  })

  test('null and other odd reasons are kept', async () => {
    const taken = take()
    taken.abort(null)
    expect(await rejectionOf(taken.done)).toBe(null)
  })

  test('does nothing after the end, and comes too late for a published file', async () => {
    const taken = take()
    const capture = FakeCapture.last
    taken.abort()
    capture.succeed()
    expect((await taken.done).id).toBe(taken.id)
    taken.abort()
    await settle()
    expect(capture.abortsAsked).toBe(1)
  })

  test('the reason also wins over what breaks while aborting', async () => {
    const taken = take()
    taken.abort('stop')
    FakeCapture.last.fail(diskFull)
    expect(await rejectionOf(taken.done)).toBe('stop')
  })

  test('a signal aborts with its reason, and is let go of at the end', async () => {
    const controller = new AbortController()
    const added = vi.spyOn(controller.signal, 'addEventListener')
    const removed = vi.spyOn(controller.signal, 'removeEventListener')
    const taken = take({ signal: controller.signal })
    controller.abort('shutting down')
    expect(await rejectionOf(taken.done)).toBe('shutting down')
    expect(unhandled).toEqual([])

    const other = new AbortController()
    const gone = vi.spyOn(other.signal, 'removeEventListener')
    const finished = take({ signal: other.signal })
    FakeCapture.last.succeed()
    await finished.done
    other.abort()
    expect(FakeCapture.last.abortsAsked).toBe(0)
    for (const spy of [added, removed, gone]) expect(spy).toHaveBeenCalledTimes(1)
  })

  test('a signal that is aborted already throws its reason before anything happens', () => {
    const before = FakeCapture.last
    expect(thrownBy(() => take({ signal: AbortSignal.abort('no') }))).toBe('no')
    expect(FakeCapture.last).toBe(before)
  })
})

describe('progress', () => {
  test('shows the counters and an estimate of the time left', async () => {
    const taken = take()
    expect(taken.progress).toEqual({ bytesDone: 0, bytesTotal: 100, bytesWritten: 0, copiedBytes: 0 })
    await new Promise((done) => setTimeout(done, 20))
    FakeCapture.last.counters = [25, 100, 20, 5]
    const { etaMs, ...counters } = taken.progress
    expect(counters).toEqual({ bytesDone: 25, bytesTotal: 100, bytesWritten: 20, copiedBytes: 5 })
    expect(etaMs).toBeGreaterThan(3 * 15)
    FakeCapture.last.succeed()
    expect(taken.progress).toEqual({
      bytesDone: 100,
      bytesTotal: 100,
      bytesWritten: 8192,
      copiedBytes: 4096,
      etaMs: 0,
    })
  })

  test('onProgress is called while it runs and once more when it is complete', async () => {
    const seen: SnapshotProgress[] = []
    const taken = take({ onProgress: (progress) => seen.push(progress) })
    expect(seen).toEqual([])
    await new Promise((done) => setTimeout(done, 250))
    expect(seen.length).toBeGreaterThanOrEqual(1)
    const calls = seen.length
    FakeCapture.last.succeed()
    expect(seen.length).toBe(calls + 1)
    expect(seen.at(-1)).toMatchObject({ bytesDone: 100, etaMs: 0 })
    await taken.done
  })

  test('after a failure there is no last call', async () => {
    const seen: SnapshotProgress[] = []
    const taken = take({ onProgress: (progress) => seen.push(progress) })
    FakeCapture.last.fail(diskFull)
    await rejectionOf(taken.done)
    expect(seen).toEqual([])
  })

  test('what onProgress throws is an uncaught exception and does not touch the capture', async () => {
    const bug = new Error('bug in the progress bar')
    const taken = take({
      onProgress: () => {
        throw bug
      },
    })
    FakeCapture.last.succeed()
    expect((await taken.done).id).toBe(taken.id)
    await settle()
    expect(uncaught).toEqual([bug])
  })

  test('one timer runs, and only while somebody listens', async () => {
    const timers = watchTimers()
    try {
      const silent = take()
      await settle()
      expect(timers.running()).toBe(0)
      const loop = async (): Promise<void> => {
        for await (const _ of silent) break
      }
      await Promise.all([loop(), loop()])
      expect(timers.running()).toBe(0)
      const iterators = [silent[Symbol.asyncIterator](), silent[Symbol.asyncIterator]()]
      for (const iterator of iterators) await iterator.next()
      expect(timers.running()).toBe(1)
      for (const iterator of iterators) await iterator.return()
      expect(timers.running()).toBe(0)
      FakeCapture.last.succeed()

      const loud = take({ onProgress: () => {} })
      expect(timers.running()).toBe(1)
      FakeCapture.last.succeed()
      expect(timers.running()).toBe(0)
      await Promise.all([silent.done, loud.done])
    } finally {
      timers.restore()
    }
  })
})

describe('iteration', () => {
  test('begins at once, ends with the final progress', async () => {
    const taken = take()
    const seen: number[] = []
    for await (const { bytesDone } of taken) {
      seen.push(bytesDone)
      if (seen.length === 1) FakeCapture.last.counters = [50, 100, 0, 0]
      if (seen.length === 2) FakeCapture.last.succeed()
    }
    expect(seen).toEqual([0, 50, 100])
  })

  test('of a finished capture yields its final progress', async () => {
    const taken = take()
    FakeCapture.last.succeed()
    const seen = []
    for await (const progress of taken) seen.push(progress.bytesDone)
    expect(seen).toEqual([100])
  })

  test('throws what done rejects with; nothing is unhandled', async () => {
    const taken = take()
    const loop = async (): Promise<void> => {
      for await (const _ of taken) FakeCapture.last.fail(diskFull)
    }
    expect((await rejectionOf(loop())).code).toBe('ERR_STILLFRAME_NO_SPACE')
    await settle()
    expect(unhandled).toEqual([])
  })

  test('wakes up for a failure while it waits', async () => {
    const taken = take()
    const iterator = taken[Symbol.asyncIterator]()
    await iterator.next()
    // On a slow machine, progress may come first.
    const ended = async (): Promise<void> => {
      while (!(await iterator.next()).done);
    }
    const waiting = rejectionOf(ended())
    await settle()
    FakeCapture.last.fail(diskFull)
    expect((await waiting).code).toBe('ERR_STILLFRAME_NO_SPACE')
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
    await settle()
    expect(unhandled).toEqual([])
  })

  test('several at a time each see the end', async () => {
    const taken = take()
    const last = async (): Promise<number | undefined> => {
      let value: number | undefined
      for await (const { bytesDone } of taken) value = bytesDone
      return value
    }
    const both = [last(), last()]
    await settle()
    FakeCapture.last.succeed()
    expect(await Promise.all(both)).toEqual([100, 100])
  })

  test('leaving the loop does not abort; a later failure is then nobody’s', async () => {
    const taken = take()
    for await (const _ of taken) break
    expect(FakeCapture.last.abortsAsked).toBe(0)
    FakeCapture.last.fail(diskFull)
    await settle()
    expect(unhandled).toHaveLength(1)
  })

  test('leaving the loop after a failure that it has not thrown yet raises the failure', async () => {
    const taken = take()
    for await (const _ of taken) {
      FakeCapture.last.fail(diskFull)
      break
    }
    await settle()
    expect(unhandled).toMatchObject([{ code: 'ERR_STILLFRAME_NO_SPACE' }])
  })

  test('unless somebody holds done', async () => {
    const taken = take()
    const { done } = taken
    for await (const _ of taken) {
      FakeCapture.last.fail(diskFull)
      break
    }
    await settle()
    expect(unhandled).toEqual([])
    expect((await rejectionOf(done)).code).toBe('ERR_STILLFRAME_NO_SPACE')
  })
})

describe('a failure that nobody looks at', () => {
  test('raises unhandledRejection', async () => {
    take()
    FakeCapture.last.fail(diskFull)
    await settle()
    expect(unhandled).toMatchObject([{ code: 'ERR_STILLFRAME_NO_SPACE', path }])
  })

  test('also when an iterator was made and never used', async () => {
    take()[Symbol.asyncIterator]()
    FakeCapture.last.fail(diskFull)
    await settle()
    expect(unhandled).toHaveLength(1)
  })

  test('not when the caller aborted', async () => {
    take().abort()
    await settle()
    expect(FakeCapture.last.ended).toBe(true)
    expect(unhandled).toEqual([])
  })
})

describe('asynchronous disposal', () => {
  test('aborts, waits for the end and does not throw', async () => {
    const taken = take()
    await taken[Symbol.asyncDispose]()
    expect(FakeCapture.last.ended).toBe(true)
    expect((await rejectionOf(taken.done)).name).toBe('AbortError')
    await settle()
    expect(unhandled).toEqual([])
  })

  test('after success and after a failure it only waits', async () => {
    const good = take()
    FakeCapture.last.succeed()
    await good[Symbol.asyncDispose]()
    expect(FakeCapture.last.abortsAsked).toBe(0)

    const bad = take()
    FakeCapture.last.fail(diskFull)
    await bad[Symbol.asyncDispose]()
    await settle()
    expect(unhandled).toEqual([])
  })
})

test('sources stay referenced until the end, and no longer', async () => {
  // Made in a function of its own, so that no variable of the test holds the memory.
  const held = ((): WeakRef<ArrayBuffer> => {
    const buffer = new ArrayBuffer(1 << 20)
    snapshot({ buffer }, path)
    FakeCapture.last.forgetPlan()
    fake.dontForkAsked = []
    return new WeakRef(buffer)
  })()
  await collectGarbage()
  // Not on the buffer itself: the test runner retains the values passed to it.
  expect(held.deref() !== undefined).toBe(true)
  await settle()
  FakeCapture.last.succeed()
  await collectGarbage()
  expect(held.deref() === undefined).toBe(true)
})

test('prints what it is and how far it has come', () => {
  const taken = take()
  expect(inspect(taken)).toMatch(/^Snapshot \{.*state: 'running'/s)
  FakeCapture.last.succeed()
  expect(inspect(taken)).toMatch(/^Snapshot \{.*state: 'complete'/s)
})

async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  // A WeakRef holds its target until the current job has ended.
  for (let round = 0; round < 3; round++) {
    await settle()
    gc()
  }
}
