/**
 * Promise: an archive returns every frame that was reported complete, by number, time and id, in
 * this process and in the next, and refuses a second writer. Proved with a region that changes
 * between and during the captures, against copies made at the calls, with archives that are closed
 * and reopened.
 */

import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect, Region } from 'stillframe'
import { openArchive } from 'stillframe/archive'
import { describe, expect, test } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { privateMode } from '../support/filesystem.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { History, listOf, numbersOf } from './history.js'

const inDirectory = useTemporaryDirectory()

test('frames come back by default, by time and by id, and after the archive was opened again', async () => {
  const place = inDirectory('archive')
  const history = new History()
  let archive = await openArchive(place)
  const ids: string[] = []
  for (let n = 0; n < 4; n++) ids.push(await history.take(archive))
  const frames = await listOf(archive)
  expect(frames.map(({ id }) => id)).toEqual(ids)
  expect(frames.map(({ number, kind }) => [number, kind])).toEqual([
    [1, 'full'],
    [2, 'delta'],
    [3, 'delta'],
    [4, 'delta'],
  ])
  expect(frames[1]).toMatchObject({
    parentId: ids[0],
    parentNumber: 1,
    byteLength: history.bytes.length,
    sections: [{ name: 'main', byteLength: history.bytes.length }],
    hasState: false,
    places: ['directory'],
    keptBecause: ['no retention'],
  })
  expect(await history.wrongOf(archive, frames)).toEqual([])
  await archive.close()

  archive = await openArchive(pathToFileURL(place))
  ids.push(await history.take(archive))
  const again = await listOf(archive)
  expect(again.slice(0, 4)).toEqual(frames.map((frame) => expect.objectContaining({ id: frame.id })))
  expect(again[4]).toMatchObject({ number: 5, kind: 'delta', parentNumber: 4 })
  expect(await history.wrongOf(archive, again)).toEqual([])

  for (const [index, frame] of again.entries()) {
    const restored = await archive.restore({ at: new Date(frame.frozenAt.getTime()) })
    // Among frames of the same millisecond, the last one is restored.
    const last = again.findLastIndex((other) => other.frozenAt.getTime() === frame.frozenAt.getTime())
    expect(restored.frame.number).toBe(Math.max(index, last) + 1)
    restored.close()
  }
  const latest = await archive.restore()
  expect(latest.frame.number).toBe(5)
  expect(latest.skipped).toEqual([])
  latest.close()
  await archive.close()
  history.close()
})

test('frames are ordinary snapshots, for their owner only', async () => {
  const history = new History()
  await using archive = await openArchive(inDirectory('archive'))
  const id = await history.take(archive, { metadata: { turn: 1 } })
  const path = inDirectory('archive/0000000001.sf')
  expect(await inspect(path)).toMatchObject({ id, metadata: { turn: 1 } })
  expect((await archive.restore({ id })).metadata).toEqual({ turn: 1 })
  expect(statSync(inDirectory('archive')).mode & 0o777).toBe(0o700)
  const mode = privateMode(inDirectory())
  expect(mode & 0o077).toBe(0)
  for (const name of readdirSync(inDirectory('archive')))
    expect([name, statSync(join(inDirectory('archive'), name)).mode & 0o777]).toEqual([name, mode])
})

test('no frame yet is told from none that is whole', async () => {
  await using archive = await openArchive(inDirectory('archive'))
  for (const wish of [{}, { at: new Date() }])
    expect(await rejectionOf(archive.restore(wish))).toMatchObject({ code: 'ERR_STILLFRAME_NOT_FOUND' })
  await new History().take(archive)
  // Leaves nothing readable of the frame.
  for (const end of ['sf', 'json'])
    writeFileSync(join(inDirectory('archive'), `0000000001.${end}`), 'no frame')
  await using reader = await openArchive(inDirectory('archive'), { readOnly: true })
  expect(await rejectionOf(reader.restore())).toMatchObject({ code: 'ERR_STILLFRAME_GAP' })
})

test('the time is at or before, never after', async () => {
  const history = new History()
  await using archive = await openArchive(inDirectory('archive'))
  await history.take(archive)
  const [first] = await listOf(archive)
  const before = new Date((first?.frozenAt.getTime() ?? 0) - 1)
  expect(await rejectionOf(archive.restore({ at: before }))).toMatchObject({ code: 'ERR_STILLFRAME_GAP' })
  expect(await rejectionOf(archive.restore({ id: 'none' }))).toMatchObject({
    code: 'ERR_STILLFRAME_NOT_FOUND',
  })
  const later = await archive.restore({ at: new Date(before.getTime() + 3_600_000) })
  expect(later.frame.number).toBe(1)
})

test('frames() can be narrowed to a span of time', async () => {
  const history = new History()
  await using archive = await openArchive(inDirectory('archive'))
  for (let n = 0; n < 3; n++) {
    await history.take(archive)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  const [, second] = await listOf(archive)
  const found = []
  for await (const { number } of archive.frames({ from: second?.frozenAt, to: second?.frozenAt }))
    found.push(number)
  expect(found).toEqual([2])
})

test('a second writer is refused and told of the lock, and readers come and go beside the first', async () => {
  const place = inDirectory('archive')
  const history = new History()
  const archive = await openArchive(place)
  await history.take(archive)
  const error = await rejectionOf(openArchive(place))
  expect(error).toMatchObject({ code: 'ERR_STILLFRAME_BUSY', path: join(place, 'writer.lock') })
  expect(error.message).toContain('writer.lock')
  await using reader = await openArchive(place, { readOnly: true })
  expect(await numbersOf(reader)).toEqual([1])
  await history.take(archive)
  expect(await history.wrongOf(reader, await listOf(reader))).toEqual([])
  expect(await numbersOf(reader)).toEqual([1, 2])
  expect(thrownBy(() => reader.capture(history.region))).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  await archive.close()
  await (await openArchive(place)).close()
})

test('a reader tells why frames are kept by the rules of the writer, or by its own', async () => {
  const history = new History()
  const place = inDirectory('archive')
  const reasons = async (options: object): Promise<string[][]> => {
    await using archive = await openArchive(place, { readOnly: true, ...options })
    return (await listOf(archive)).map(({ keptBecause }) => [...keptBecause])
  }
  for (const [retention, because] of [
    [undefined, ['newest', 'no retention']],
    [{ last: 1, within: '7d' }, ['newest', 'last 1', 'within 7d']],
    [{ within: 90_000 }, ['newest', 'within 90000ms']],
  ] as const) {
    const archive = await openArchive(place, { ...(retention && { retention }) })
    if (retention === undefined) await history.take(archive)
    await archive.close()
    expect(await reasons({})).toEqual([because])
    expect(await reasons({ retention: { daily: 1 } })).toEqual([['newest', expect.stringMatching(/^daily /)]])
  }
  // Rules of a future version.
  writeFileSync(join(place, 'archive.json'), '{"stillframeArchive":1,"retention":{"yearly":3}}')
  expect(await reasons({})).toEqual([['newest', 'no retention']])
})

describe('what is no archive', () => {
  test('is made by a writer, but only its last directory, and is not found by a reader', async () => {
    expect(await rejectionOf(openArchive(inDirectory('none'), { readOnly: true }))).toMatchObject({
      code: 'ERR_STILLFRAME_NOT_FOUND',
    })
    expect(await rejectionOf(openArchive(inDirectory('no/ne')))).toMatchObject({ code: 'ERR_STILLFRAME_IO' })
    expect(readdirSync(inDirectory())).toEqual([])
    mkdirSync(inDirectory('empty'))
    expect(await rejectionOf(openArchive(inDirectory('empty'), { readOnly: true }))).toMatchObject({
      code: 'ERR_STILLFRAME_NOT_FOUND',
    })
    expect(readdirSync(inDirectory('empty'))).toEqual([])
  })

  test.each([
    ['{"stillframeArchive":2}', 'ERR_STILLFRAME_VERSION'],
    ['{}', 'ERR_STILLFRAME_FORMAT'],
    ['no JSON', 'ERR_STILLFRAME_FORMAT'],
  ])('is refused with its mark: %s', async (mark, code) => {
    writeFileSync(inDirectory('archive.json'), mark)
    expect(await rejectionOf(openArchive(inDirectory()))).toMatchObject({ code })
    expect(await rejectionOf(openArchive(inDirectory(), { readOnly: true }))).toMatchObject({ code })
  })

  test('loses none of its files, even if they have names of frames', async () => {
    writeFileSync(inDirectory('0000000001.sf'), 'mine')
    expect(await rejectionOf(openArchive(inDirectory()))).toMatchObject({ code: 'ERR_STILLFRAME_FORMAT' })
    expect(existsSync(inDirectory('0000000001.sf'))).toBe(true)
  })
})

test('of two captures at once the second is refused, and one that was aborted leaves nothing', async () => {
  const history = new History()
  await using archive = await openArchive(inDirectory('archive'))
  await history.take(archive)
  const before = readdirSync(inDirectory('archive'))
  const running = archive.capture(history.region)
  expect(thrownBy(() => archive.capture(history.region))).toMatchObject({ code: 'ERR_STILLFRAME_BUSY' })
  running.abort(new Error('enough'))
  expect(await rejectionOf(running.done)).toMatchObject({ message: 'enough' })
  expect(readdirSync(inDirectory('archive'))).toEqual(before)
  await history.take(archive)
  expect((await listOf(archive)).map(({ kind }) => kind)).toEqual(['full', 'delta'])
  expect(await history.wrongOf(archive, await listOf(archive))).toEqual([])
})

test('a frame can be asked to build on no other', async () => {
  const history = new History()
  await using archive = await openArchive(inDirectory('archive'))
  await history.take(archive)
  await history.take(archive, { full: true })
  expect((await listOf(archive)).map(({ kind }) => kind)).toEqual(['full', 'full'])
})

test('a frame is full where the one to build on is gone', async () => {
  const history = new History()
  const place = inDirectory('archive')
  await using archive = await openArchive(place)
  await history.take(archive)
  await history.take(archive)
  // The first capture builds on the missing file and fails; the next knows that it is missing.
  const { unlinkSync } = await import('node:fs')
  unlinkSync(join(place, '0000000001.sf'))
  await expect(history.take(archive)).rejects.toMatchObject({ code: 'ERR_STILLFRAME_PARENT' })
  await history.take(archive)
  expect((await listOf(archive)).at(-1)).toMatchObject({ kind: 'full' })
})

test('a closed archive refuses everything but to be closed', async () => {
  const history = new History()
  const archive = await openArchive(inDirectory('archive'))
  await archive.close()
  await archive.close()
  const closed = { code: 'ERR_STILLFRAME_CLOSED' }
  expect(thrownBy(() => archive.capture(history.region))).toMatchObject(closed)
  expect(await rejectionOf(archive.restore())).toMatchObject(closed)
  expect(await rejectionOf(archive.prune())).toMatchObject(closed)
  expect(await rejectionOf(archive.verify())).toMatchObject(closed)
  expect(await rejectionOf(archive.compact())).toMatchObject(closed)
  expect(await rejectionOf(listOf(archive))).toMatchObject(closed)
})

test('close() waits for the frame that is being captured', async () => {
  const history = new History()
  const archive = await openArchive(inDirectory('archive'))
  const running = archive.capture(history.region)
  await archive.close()
  await expect(running.done).resolves.toMatchObject({ id: running.id })
  await using again = await openArchive(inDirectory('archive'))
  expect(await numbersOf(again)).toEqual([1])
})

test.each([
  [{ parent: 'x' }],
  [{ overwrite: true }],
  [{ mode: 0o600 }],
  [{ durable: false }],
  [{ unheardOf: 1 }],
])('capture() refuses %o', async (options) => {
  await using archive = await openArchive(inDirectory('archive'))
  const region = Region.allocate(4096)
  expect(thrownBy(() => archive.capture(region, options as object))).toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
  })
  region.close()
})
