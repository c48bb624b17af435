/**
 * Promise: an archive does not age. Over thousands of frames, with strict retention and a writer
 * that is killed again and again, chains stay short, files few, and descriptors and memory flat;
 * numbers are never reused; and every listed frame restores to its original contents. Proved with a
 * service that is killed at random moments and restarts from its newest frame each time.
 */

import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type Frame, openArchive } from 'stillframe/archive'
import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { runningInSession, waitUntil } from '../support/processes.mjs'
import { Random, testSeed } from '../support/random.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { fillFrame } from './fixtures/frame-memory.mjs'
import { listOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const aging = new URL('fixtures/aging.mjs', import.meta.url)

const frames = longMode ? 10_000 : 300
const framesOfALife = longMode ? 400 : 60
/** Must match the options in the fixture. */
const [kept, fullEvery] = [4, 4]

test(`an archive does not age, seed ${testSeed}`, { timeout: longMode ? 3_600_000 : 300_000 }, async () => {
  const random = new Random(testSeed)
  const place = inDirectory('archive')
  let told = 0
  let highest = 0
  let turn = 0
  for (let life = 1; told < frames; life++) {
    const service = startFixture(aging, [place, String(random.word())], {
      env: { STILLFRAME_DISABLE: '' },
      detached: true,
    })
    const [first] = [await service.report()] as { turn: number; fds: number; rss: number }[]
    if (first === undefined) throw new Error('it told nothing')
    // It continued from the newest frame, which may not have been reported.
    expect(first.turn, `life ${life}`).toBeGreaterThan(turn)
    turn = first.turn
    for (let left = random.below(framesOfALife); left > 0; left--) {
      const report = (await service.report()) as { turn: number; fds: number; rss: number }
      turn = report.turn
      told++
      expect(report.fds, `life ${life}`).toBeLessThan(first.fds + 40)
      expect(report.rss, `life ${life}`).toBeLessThan(first.rss + (150 << 20))
    }
    await setTimeout(random.below(30))
    service.child.kill('SIGKILL')
    await service.end
    while (service.hasReport) ({ turn } = (await service.report()) as { turn: number })
    await waitUntil(() => runningInSession(service.pid).length === 0, 'its copies are gone')

    const archive = await openArchive(place, { readOnly: true })
    const listed = await listOf(archive)
    const what = `after life ${life}`
    // Retention keeps at least this many of the frames that were reported complete; at most one
    // more frame was not reported.
    expect(listed.at(-1)?.number, what).toBeGreaterThan(highest)
    highest = listed.at(-1)?.number ?? 0
    expect(listed.length, what).toBeGreaterThanOrEqual(Math.min(kept, life))
    expect(longestChain(listed), what).toBeLessThanOrEqual(4 * fullEvery)
    for (const { id } of listed) {
      const restored = await archive.restore<number>({ id })
      const expected = fillFrame(new ArrayBuffer(64 * 1024), restored.metadata as number)
      expect(
        Buffer.compare(new Uint8Array(restored.regions['main']?.buffer as ArrayBuffer), expected),
        what,
      ).toBe(0)
      for await (const value of restored.state()) expect(value, what).toBe(restored.metadata)
      restored.close()
    }
    const newest = await archive.restore<number>()
    expect(newest.metadata, what).toBeGreaterThanOrEqual(turn)
    newest.close()
    await archive.close()
    // Files of listed frames, of frames that they build on, and of a frame in progress. Within `1s`
    // there may be some 100 frames. Twice as many files, since a busy machine removes them late.
    const files = readdirSync(place)
    expect(files.length, what).toBeLessThan(6 * (listed.length + 4 * fullEvery) + 20)
    const bytes = files.reduce((sum, name) => sum + statSync(join(place, name)).size, 0)
    expect(bytes, what).toBeLessThan((listed.length + 4 * fullEvery) * (256 << 10))
  }
})

/** Chain lengths among listed frames only; `verify()` checks the rest. */
function longestChain(listed: readonly Frame[]): number {
  const lengths = new Map<string, number>()
  for (const { id, parentId } of listed) lengths.set(id, (lengths.get(parentId ?? '') ?? 0) + 1)
  return Math.max(0, ...lengths.values())
}
