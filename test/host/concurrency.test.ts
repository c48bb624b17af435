/**
 * Promise: simultaneous captures follow one rule: only one of them may write a file, and many may
 * capture the same memory. A capture can be aborted at any moment (I10). Proved by starting second
 * captures during held ones, and by aborting at random moments.
 */

import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { inspect, Region, snapshot, verify } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { bigRegion, holdSnapshot, startSnapshot } from '../support/held-snapshot.mjs'
import { longMode } from '../support/long-mode.mjs'
import { fillPattern, hashOf } from '../support/pattern.mjs'
import { isGone } from '../support/processes.mjs'
import { seededRandom, testSeed } from '../support/random.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

describe('two captures at once', () => {
  test('to the same file: the second is refused, the first is unharmed', async () => {
    mkdirSync(inDirectory('real'))
    symlinkSync('real', inDirectory('link'))
    const { taken, release } = holdSnapshot(bigRegion(), inDirectory('real/file'))
    const other = new Uint8Array(10)
    for (const path of ['real/file', 'real/../real/./file', 'link/file']) {
      expect(
        thrownBy(() => snapshot(other, inDirectory(path))),
        path,
      ).toMatchObject({
        name: 'StillframeError',
        code: 'ERR_STILLFRAME_BUSY',
      })
    }
    release()
    await taken.done
    expect(await verify(inDirectory('real/file'))).toMatchObject({ ok: true })
    expect((await inspect(inDirectory('real/file'))).id).toBe(taken.id)
    expect(readdirSync(inDirectory('real'))).toEqual(['file'])
  })

  test('to the same file: a new one is welcome as soon as the first has failed', async () => {
    const { taken } = holdSnapshot(bigRegion(), inDirectory('file'))
    taken.abort()
    await rejectionOf(taken.done)
    const next = snapshot(new Uint8Array(10), inDirectory('file'))
    await next.done
    expect((await inspect(inDirectory('file'))).id).toBe(next.id)
  })

  test('of the same memory to different files: each has the memory of its own call', async () => {
    const region = bigRegion()
    const bytes = new Uint8Array(region.buffer)
    bytes[0] = 1
    const first = holdSnapshot(region, inDirectory('first'))
    bytes[0] = 2
    const second = holdSnapshot(region, inDirectory('second'))
    bytes[0] = 3
    const third = snapshot(region, inDirectory('third'))
    await third.done
    second.release()
    await second.taken.done
    first.release()
    await first.taken.done
    for (const [index, name] of ['first', 'second', 'third'].entries()) {
      expect(await verify(inDirectory(name))).toMatchObject({ ok: true })
      const fileOffset = (await inspect(inDirectory(name))).sections[0]?.fileOffset ?? -1
      expect(readFileSync(inDirectory(name))[fileOffset], name).toBe(index + 1)
    }
    region.close()
  })
})

describe('an abort', () => {
  test('ends a child that is stopped', async () => {
    // Nothing else would end it within the time of a test.
    const { taken, pid } = holdSnapshot(bigRegion(), inDirectory('file'), { stallTimeoutMs: 600_000 })
    taken.abort('enough')
    await expect(taken.done).rejects.toBe('enough')
    expect(isGone(pid)).toBe(true)
    expect(readdirSync(inDirectory())).toEqual([])
  })

  for (const how of ['by its method', 'by a signal'] as const) {
    test(`at any moment leaves the older file or a complete new one: ${how}`, async () => {
      const random = seededRandom(testSeed)
      const region = Region.allocate(8 << 20)
      const hash = hashOf(fillPattern(region.buffer, 1))
      let old = await snapshot(region, inDirectory('file')).done
      let aborted = 0
      for (let round = 0; round < (longMode ? 500 : 40); round++) {
        const what = `seed ${testSeed}, round ${round}`
        const reason = new Error('changed my mind')
        const controller = new AbortController()
        const { taken, pid } = startSnapshot(region, inDirectory('file'), {
          durable: round % 4 === 0,
          signal: controller.signal,
        })
        const abort = (): void => (how === 'by a signal' ? controller.abort(reason) : taken.abort(reason))
        const moment = random() * 30 - 3
        if (moment < 0) abort()
        else setTimeout(abort, moment)
        const result = await taken.done.catch((error: unknown) => error)
        // However the capture ended, the child is gone.
        expect(isGone(pid), what).toBe(true)
        if (result instanceof Error) {
          expect(result, what).toBe(reason)
          aborted++
        } else {
          old = result as typeof old
        }
        expect((await inspect(inDirectory('file'))).id, what).toBe(old.id)
        expect(readdirSync(inDirectory()), what).toEqual(['file'])
      }
      expect(aborted).toBeGreaterThan(0)
      expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
      expect(hashOf(region.buffer)).toBe(hash)
      region.close()
    })
  }
})
