/**
 * Promise: a frame that retention prunes disappears with all its files as soon as no frame builds
 * on it; frames in use by a reader, the newest frame and the newest whole frame stay. Proved with
 * archives under strict rules, read by this process and by another, and with frames whose files
 * were damaged or removed.
 */

import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { type Region, snapshot } from 'stillframe'
import { type Archive, openArchive } from 'stillframe/archive'
import { expect, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { History, listOf, numbersOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const reading = new URL('fixtures/reading.mjs', import.meta.url)

/** Files of frames, without leading zeros: `7.sf`. */
function filesOf(place: string): string[] {
  return readdirSync(place)
    .filter((name) => /^\d/.test(name))
    .map((name) => name.replace(/^0+/, ''))
    .sort()
}

/** The frames that are listed when all background work is done. */
async function settled(archive: Archive): Promise<number[]> {
  // Takes a turn of its own after all others.
  await archive.prune({ dryRun: true })
  return await numbersOf(archive)
}

test('retention is applied after each frame, and the files of full frames go at once', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place, { retention: { last: 2 } })
  for (let n = 1; n <= 5; n++) {
    await history.take(archive, { full: true })
    expect(await settled(archive)).toEqual(n === 1 ? [1] : [n - 1, n])
  }
  expect(filesOf(place)).toEqual(['4.json', '4.sf', '5.json', '5.sf'])
  expect((await listOf(archive)).map(({ keptBecause }) => keptBecause)).toEqual([
    ['last 2'],
    ['newest', 'last 2'],
  ])
  expect(await history.wrongOf(archive, await listOf(archive))).toEqual([])
})

test('a frame that others build on is given up, and its memory stays for as long as it is needed', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place, { retention: { last: 1 } })
  for (let n = 1; n <= 3; n++) await history.take(archive, { state: (out) => out.value(n) })
  expect(await settled(archive)).toEqual([3])
  expect(filesOf(place).filter((name) => name.endsWith('.sf'))).toEqual(['1.sf', '2.sf', '3.sf'])
  expect(await history.wrongOf(archive, await listOf(archive))).toEqual([])
  await using reader = await openArchive(place, { readOnly: true })
  expect(await numbersOf(reader)).toEqual([3])
  await history.take(archive, { full: true })
  expect(await settled(archive)).toEqual([4])
  expect(filesOf(place)).toEqual(['4.json', '4.sf'])
})

test('nothing is given up without retention, and prune() takes rules of its own', async () => {
  const history = new History()
  await using archive = await openArchive(inDirectory('archive'))
  for (let n = 1; n <= 4; n++) await history.take(archive, { full: true })
  expect((await archive.prune()).givenUp).toEqual([])
  const planned = await archive.prune({ dryRun: true, retention: { last: 2 } })
  expect(planned.givenUp.map(({ number }) => number)).toEqual([1, 2])
  expect(await numbersOf(archive)).toEqual([1, 2, 3, 4])
  const done = await archive.prune({ retention: { last: 2 } })
  expect({ ...done, freedBytes: 0 }).toEqual({ ...planned, freedBytes: 0 })
  expect(done.freedBytes).toBeGreaterThan(0)
  expect(await numbersOf(archive)).toEqual([3, 4])
})

test('the files of a frame stay while it is read, whatever retention says', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place)
  const first = await history.take(archive)
  await history.take(archive)
  const mapped = await archive.restore({ mode: 'map' })
  expect(mapped.frame.number).toBe(2)
  for (let n = 3; n <= 4; n++) await history.take(archive, { full: true })
  const pruned = await archive.prune({ retention: { last: 1 } })
  expect(pruned.kept.map(({ number, keptBecause }) => [number, keptBecause])).toEqual([
    [1, ['in use']],
    [2, ['in use']],
    [4, ['newest', 'last 1']],
  ])
  expect(pruned.givenUp.map(({ number }) => number)).toEqual([3])
  expect(filesOf(place)).toEqual(['1.json', '1.sf', '2.json', '2.sf', '4.json', '4.sf'])
  expect(
    await history.wrongOf(
      archive,
      (await listOf(archive)).filter(({ id }) => id !== first),
    ),
  ).toEqual([])
  mapped.close()
  await archive.prune({ retention: { last: 1 } })
  expect(filesOf(place)).toEqual(['4.json', '4.sf'])
})

test('a copy holds its files no longer than the restore takes, and objects until it is closed', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place)
  await history.take(archive, { state: (out) => out.value('first') })
  const copied = await archive.restore({ mode: 'copy' })
  await history.take(archive, { full: true })
  const rules = { retention: { last: 1 } }
  expect((await archive.prune(rules)).kept.map(({ number }) => number)).toEqual([1, 2])
  const objects: unknown[] = []
  for await (const value of copied.state()) objects.push(value)
  expect(objects).toEqual(['first'])
  copied.close()
  expect((await archive.prune(rules)).kept.map(({ number }) => number)).toEqual([2])

  const without = await archive.restore({ mode: 'copy' })
  await history.take(archive, { full: true })
  expect((await archive.prune(rules)).kept.map(({ number }) => number)).toEqual([3])
  without.close()
})

test('what another process reads stays until that process has let go, or died', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place, { retention: { last: 1 } })
  await history.take(archive)
  for (const end of ['close', 'kill'] as const) {
    const reader = startFixture(reading, [place])
    const { number } = await reader.report()
    await history.take(archive, { full: true })
    expect(await settled(archive)).toEqual([number, Number(number) + 1])
    expect((await listOf(archive))[0]?.keptBecause).toEqual(['in use'])
    if (end === 'kill') reader.child.kill('SIGKILL')
    else {
      reader.tell('close')
      expect(await reader.report()).toEqual({ exact: true })
    }
    await reader.end
    await archive.prune()
    expect(await numbersOf(archive)).toEqual([Number(number) + 1])
  }
})

test('a mapping that nobody refers to any more holds nothing', async () => {
  const history = new History()
  await using archive = await openArchive(inDirectory('archive'))
  await history.take(archive)
  expect((await archive.restore({ mode: 'map' })).frame.number).toBe(1)
  await history.take(archive, { full: true })
  const { gc } = globalThis as { gc?: () => void }
  if (gc === undefined) (await import('node:v8')).setFlagsFromString('--expose-gc')
  const collect = gc ?? ((await import('node:vm')).runInNewContext('gc') as () => void)
  let kept: number[] = []
  for (let tries = 0; tries < 200; tries++) {
    collect()
    await setTimeout(5)
    kept = (await archive.prune({ retention: { last: 1 } })).kept.map(({ number }) => number)
    if (kept.length === 1) break
  }
  expect(kept).toEqual([2])
})

test('a frame of which a file is missing counts for nothing, and is told as skipped', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place)
  for (let n = 1; n <= 4; n++) await history.take(archive, { full: true })
  rmSync(join(place, '0000000003.sf'))
  rmSync(join(place, '0000000004.sf'))
  const { kept, givenUp } = await archive.prune({ retention: { last: 1 } })
  expect(kept.map(({ number, keptBecause }) => [number, keptBecause])).toEqual([
    [2, ['newest whole', 'last 1']],
    [3, ['damaged']],
    [4, ['newest', 'damaged']],
  ])
  expect(givenUp.map(({ number }) => number)).toEqual([1])
  const restored = await archive.restore()
  expect(restored.frame.number).toBe(2)
  expect(restored.skipped.map(({ number, reason }) => [number, reason.includes('missing')])).toEqual([
    [4, true],
    [3, true],
  ])
  restored.close()
  expect(await rejectionOf(archive.restore({ onDamage: 'throw' }))).toMatchObject({
    code: 'ERR_STILLFRAME_CORRUPT',
  })
})

test('a damaged manifest is a damaged frame, and those that build on it come back all the same', async () => {
  const place = inDirectory('archive')
  const history = new History()
  let archive = await openArchive(place)
  for (let n = 1; n <= 3; n++) await history.take(archive)
  await archive.close()
  const path = join(place, '0000000002.json')
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"byteLength":\d/, '"byteLength":9'))
  archive = await openArchive(place)
  const frames = await listOf(archive)
  expect(frames.map(({ number, damage }) => [number, damage?.includes('checksum')])).toEqual([
    [1, undefined],
    [2, true],
    [3, undefined],
  ])
  expect(frames[1]?.id).toBe(frames[2]?.parentId)
  expect(
    await history.wrongOf(
      archive,
      frames.filter(({ damage }) => damage === undefined),
    ),
  ).toEqual([])
  const { ok, frames: reports } = await archive.verify()
  expect([ok, reports.map((report) => report.ok)]).toEqual([false, [true, false, true]])
  await history.take(archive)
  expect(await history.wrongOf(archive, (await listOf(archive)).slice(3))).toEqual([])
  await archive.close()
})

test('a manifest that is lost takes no memory with it that another frame needs', async () => {
  const place = inDirectory('archive')
  const history = new History()
  let archive = await openArchive(place)
  for (let n = 1; n <= 3; n++) await history.take(archive)
  await archive.close()
  rmSync(join(place, '0000000002.json'))
  archive = await openArchive(place)
  expect(await numbersOf(archive)).toEqual([1, 3])
  expect(await history.wrongOf(archive, await listOf(archive))).toEqual([])
  await archive.close()
})

test('a snapshot that somebody else takes into the directory is left alone', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place, { retention: { last: 1 } })
  await history.take(archive, { full: true })
  await snapshot(history.region as Region, join(place, 'mine.sf')).done
  await history.take(archive, { full: true })
  await settled(archive)
  expect(existsSync(join(place, 'mine.sf'))).toBe(true)
})
