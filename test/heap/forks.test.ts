/**
 * Promise: a fork ends well whatever V8 and other threads are doing, and a copy that cannot
 * continue is replaced by another. Proved by forks under all loads at once (test/heap/forks.mjs
 * does many more), and by copies that wait for something that no thread there can provide.
 */

import { execFile } from 'node:child_process'
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import { describe, expect, test } from 'vitest'
import { compileLibrary } from '../support/compile.js'
import { rejectionOf } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { needsTools } from '../support/needs.js'
import { temporaryFilesIn, useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const script = fileURLToPath(new URL('forks.mjs', import.meta.url))
/** Far beyond the time that a test may take, so that this timeout ends nothing here. */
const stallTimeoutMs = 600_000

/** Returns the counts of the script, which fails if a fork fails. */
async function manyForks(...args: string[]) {
  const { stdout } = await promisify(execFile)(process.execPath, [script, '--json', ...args])
  const counted = JSON.parse(stdout)
  console.log(stdout.trimEnd())
  return counted as { endedWell: number; retried: number; failed: object[]; leftBehind: string[] }
}

/** Waits forever on the only thread of the copy. */
const sleepForEver = (): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)

describe('many forks', () => {
  test('under all loads, from the main thread and from worker threads, end well', async () => {
    const { endedWell, failed, leftBehind } = await manyForks('--count', '30')
    expect(endedWell).toBeGreaterThanOrEqual(30)
    expect(failed).toEqual([])
    expect(leftBehind).toEqual([])
  })

  test("of a busy main thread need nothing of V8's own threads", async () => {
    const loads = 'young,old,large,jit,wasm,pool,timers'
    const { endedWell, retried } = await manyForks('--count', '20', '--kinds', 'json', '--loads', loads)
    expect(endedWell).toBe(20)
    // Only worker_threads hold V8's locks for any considerable time.
    expect(retried).toBeLessThanOrEqual(1)
  })
})

describe('a copy that waits for what no thread there can give', () => {
  test('is replaced by another one, long before it would count as stalled', async () => {
    const firstWasHere = inDirectory('first')
    const { attempts } = await snapshotState(
      inDirectory('state'),
      (out) => {
        if (!existsSync(firstWasHere)) {
          writeFileSync(firstWasHere, '')
          sleepForEver()
        }
        out.write('of the second')
      },
      { stallTimeoutMs },
    ).done
    expect(attempts).toBe(2)
    expect(readFileSync(inDirectory('state'), 'utf8')).toBe('of the second')
  })

  test('six times is reported, and nothing is published', async () => {
    const log = inDirectory('log')
    const job = snapshotState(
      inDirectory('state'),
      () => {
        appendFileSync(log, 'attempt\n')
        sleepForEver()
      },
      { stallTimeoutMs },
    )
    const error = await rejectionOf(job.done)
    expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_CHILD_DIED' })
    expect(error.message).toContain('a lock that another thread of the process held')
    // The held lock differs from moment to moment, so there are more attempts than for possible
    // faults of the callback.
    expect(readFileSync(log, 'utf8')).toBe('attempt\n'.repeat(6))
    expect(existsSync(inDirectory('state'))).toBe(false)
    expect(temporaryFilesIn(inDirectory())).toEqual([])
  })

  test('and goes on by itself is left alone', async () => {
    const { attempts } = await snapshotState(
      inDirectory('state'),
      (out) => {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000)
        out.write('rested')
      },
      { stallTimeoutMs },
    ).done
    expect(attempts).toBe(1)
  })

  test('leaves the next one to go well', async () => {
    await rejectionOf(snapshotState(inDirectory('state'), sleepForEver, { stallTimeoutMs }).done)
    const { fileSize } = await writeHeapSnapshot(inDirectory('heap'), { stallTimeoutMs }).done
    expect(fileSize).toBeGreaterThan(0)
  })
})

test('a heap snapshot leaves alone what a Worker compiles in the pause, of which the copy has only a part', async (context) => {
  needsTools(context, 'cc')
  // Without a longer pause, this would happen once in a hundred runs.
  const library = inDirectory('slow_fork.so')
  compileLibrary(new URL('fixtures/slow_fork.c', import.meta.url), library)
  const fixture = startFixture(
    new URL('fixtures/compiles.mjs', import.meta.url),
    [inDirectory('snapshot'), '3'],
    { preload: library },
  )
  const { outcomes } = await fixture.report()
  expect(outcomes).toEqual(Array.from({ length: 3 }, () => ({ ok: true })))
})

describe('ways to run Node', () => {
  for (const flags of [
    ['--v8-pool-size=0'],
    ['--v8-pool-size=1'],
    ['--v8-pool-size=8'],
    ['--single-threaded'],
    ['--jitless'],
    ['--max-lazy'],
    ['--inspect=127.0.0.1:0'],
    ['--freeze-flags-after-init'],
  ]) {
    test(`forks end well with ${flags.join(' ')}`, async () => {
      // Without a compiler there is no WebAssembly.
      const loads = flags.includes('--jitless')
        ? 'young,old,large,pool,timers'
        : 'young,old,large,jit,pool,timers'
      const args = [...flags, script, '--json', '--count', '6', '--loads', loads]
      const { stdout } = await promisify(execFile)(process.execPath, args)
      console.log(stdout.trimEnd())
      expect(JSON.parse(stdout)).toMatchObject({ failed: [], leftBehind: [] })
    })
  }
})
