/**
 * Promise: known ways in which comparable systems have lost data lose none here: numbers that start
 * over, one gap that makes everything else unusable, a lock that outlives its holder. (See
 * compaction.test.ts for compactions that change times, never end, or take as much memory as the
 * service; see prune.test.ts and races.test.ts for files that disappear while being read.)
 */

import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { openArchive } from 'stillframe/archive'
import { expect, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { History, listOf, numbersOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const holding = new URL('fixtures/holding.mjs', import.meta.url)

test('numbers go on after a restore, a prune of nearly everything, a failure, and a leftover of a dead writer', async () => {
  const place = inDirectory('archive')
  const history = new History()
  let archive = await openArchive(place)
  for (let n = 1; n <= 3; n++) await history.take(archive, { full: true })
  await archive.prune({ retention: { last: 1 } })
  await archive.close()
  archive = await openArchive(place)
  const restored = await archive.restore({ into: { main: history.region } })
  expect(restored.frame.number).toBe(3)
  const failing = archive.capture(history.region)
  failing.abort()
  await rejectionOf(failing.done)
  await history.take(archive)
  const numbers = await numbersOf(archive)
  expect(numbers[0]).toBe(3)
  expect(numbers[1]).toBeGreaterThan(3)
  await archive.close()
  // Files of a writer that died before writing the manifest are removed, and their numbers are not
  // reused.
  writeFileSync(join(place, '0000000040.sf'), 'half')
  writeFileSync(join(place, '0000000041.json.tmp'), 'less')
  writeFileSync(join(place, '0000000041.state'), '')
  archive = await openArchive(place)
  expect(readdirSync(place).filter((name) => name.startsWith('000000004'))).toEqual([])
  await history.take(archive)
  expect((await numbersOf(archive)).at(-1)).toBe(42)
  expect(await history.wrongOf(archive, (await listOf(archive)).slice(1))).toEqual([])
  await archive.close()
})

test('one gap takes no more with it than what builds on it, and the archive goes on', async () => {
  const place = inDirectory('archive')
  const history = new History()
  let archive = await openArchive(place)
  for (let n = 1; n <= 6; n++) await history.take(archive)
  await archive.close()
  rmSync(join(place, '0000000004.sf'))
  archive = await openArchive(place)
  const frames = await listOf(archive)
  expect(await history.wrongOf(archive, frames.slice(0, 3))).toEqual([])
  const restored = await archive.restore()
  expect([restored.frame.number, restored.skipped.map(({ number }) => number)]).toEqual([3, [6, 5, 4]])
  restored.close()
  // By now, the writer knows about the gap as well.
  await history.take(archive)
  const last = (await listOf(archive)).at(-1)
  expect(last).toMatchObject({ number: 7, kind: 'full' })
  expect(await history.wrongOf(archive, [last as (typeof frames)[0]])).toEqual([])
  const newest = await archive.restore()
  expect([newest.frame.number, newest.skipped]).toEqual([7, []])
  newest.close()
  expect((await archive.verify()).frames.map(({ ok }) => ok)).toEqual([
    true,
    true,
    true,
    false,
    false,
    false,
    true,
  ])
  await archive.close()
})

test.each(['memory', 'objects'])(
  'a copy that outlives its service does not hold the lock: of %s',
  async (what) => {
    const place = inDirectory('archive')
    const fixture = startFixture(holding, [place, what])
    const { pid, open } = (await fixture.report()) as { pid: number; open: string[] }
    expect(open.filter((path) => path.startsWith(place) && path.endsWith('.lock'))).toEqual([])
    // The copy is stopped, so it cannot notice that its service is gone. (The kernel kills it as
    // well, but the lock does not depend on that.)
    fixture.child.kill('SIGKILL')
    await fixture.end
    try {
      const archive = await openArchive(place)
      await archive.close()
    } finally {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {} // already gone
    }
    await waitUntil(() => readdirSync(place).length >= 2, 'the archive is there')
  },
)
