/**
 * Promise: a long chain is compacted to one full file in the background, and the frame keeps its
 * number, id, time and memory, as do all frames that build on it. Proved with archives that are
 * compacted automatically and on request, during captures, reads and pruning, and with chains that
 * cannot be read.
 */

import { mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { compact, inspect } from 'stillframe'
import { type Archive, openArchive } from 'stillframe/archive'
import { expect, test, vi } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { History, listOf } from './history.js'

const inDirectory = useTemporaryDirectory()

function pathOf(place: string, number: number): string {
  return join(place, `${String(number).padStart(10, '0')}.sf`)
}

async function chainLengths(archive: Archive): Promise<number[]> {
  const lengths = new Map<string, number>()
  for (const { id, parentId } of await listOf(archive))
    lengths.set(id, (lengths.get(parentId ?? '') ?? 0) + 1)
  return [...lengths.values()]
}

test('a compacted frame is the same frame, and those before and behind it come back', async () => {
  const place = inDirectory('archive')
  const history = new History()
  let archive = await openArchive(place)
  for (let n = 1; n <= 5; n++) await history.take(archive, { metadata: n })
  const before = await listOf(archive)
  const compacted = await archive.compact()
  expect(await archive.compact()).toBeUndefined()
  await history.take(archive)
  const after = await listOf(archive)
  const { parentId: _, parentNumber: __, ...unchanged } = before[4] as (typeof before)[0]
  expect(compacted).toMatchObject({ number: 5, kind: 'full' })
  expect(after[4]).toEqual({
    ...unchanged,
    kind: 'full',
    fileSize: statSync(pathOf(place, 5)).size,
    allocatedBytes: expect.any(Number),
    compactedAt: expect.any(Date),
    keptBecause: expect.any(Array),
  })
  expect(after[5]).toMatchObject({ kind: 'delta', parentNumber: 5 })
  expect(await inspect(pathOf(place, 5))).toMatchObject({
    id: before[4]?.id,
    frozenAt: before[4]?.frozenAt,
    metadata: 5,
  })
  expect(await history.wrongOf(archive, after)).toEqual([])
  expect(await chainLengths(archive)).toEqual([1, 2, 3, 4, 1, 2])
  await archive.close()
  archive = await openArchive(place)
  expect(await history.wrongOf(archive, await listOf(archive))).toEqual([])
  expect((await archive.verify()).ok).toBe(true)
  await archive.close()
})

test('chains are compacted by themselves, and what nothing builds on any more goes', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place, { retention: { last: 2 }, fullEvery: 4 })
  for (let n = 1; n <= 20; n++) await history.take(archive)
  await waitUntil(
    () => readdirSync(place).filter((name) => name.endsWith('.sf')).length <= 16,
    'files are removed',
  )
  // Background pruning would otherwise retire frames while the test reads them.
  await archive.prune()
  expect(await history.wrongOf(archive, await listOf(archive))).toEqual([])
  await archive.compact()
  await archive.prune()
  const [last] = (await listOf(archive)).slice(-1)
  expect(last).toMatchObject({ number: 20, kind: 'full' })
  await history.take(archive, { full: true })
  await archive.prune()
  await archive.prune({ retention: { last: 1 } })
  expect(readdirSync(place).filter((name) => name.endsWith('.sf'))).toEqual(['0000000021.sf'])
})

test('a chain that grows faster than it is compacted ends with a full frame', async () => {
  const place = inDirectory('archive')
  const history = new History()
  const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  await using archive = await openArchive(place, { fullEvery: 2 })
  // Prevents every compaction from finishing.
  for (let n = 1; n <= 40; n++) mkdirSync(`${pathOf(place, n)}.tmp`)
  for (let n = 1; n <= 40; n++) await history.take(archive)
  expect(Math.max(...(await chainLengths(archive)))).toBe(4 * 2)
  await archive.close()
  expect(warnings.mock.calls[0]?.[1]).toMatchObject({ type: 'StillframeArchiveWarning' })
  warnings.mockRestore()
})

test('a compaction ends, though frames are taken all the time', async () => {
  const history = new History(16 << 20)
  await using archive = await openArchive(inDirectory('archive'), { fullEvery: 200 })
  for (let n = 1; n <= 4; n++) await history.take(archive)
  let done = false
  const compacting = archive.compact().finally(() => {
    done = true
  })
  let taken = 0
  while (!done && taken < 1000) {
    await history.take(archive)
    taken++
  }
  expect(await compacting).toMatchObject({ number: 4, kind: 'full' })
  expect(taken).toBeLessThan(1000)
  expect(await history.wrongOf(archive, (await listOf(archive)).slice(-1))).toEqual([])
})

test('a capture beside a compaction takes no memory for it', async () => {
  // A capture during a compaction was known to double the memory of a service: the compaction held
  // a second copy of the state in memory.
  const history = new History(64 << 20)
  await using archive = await openArchive(inDirectory('archive'), { fullEvery: 200 })
  for (let n = 1; n <= 3; n++) await history.take(archive)
  const anonymous = (): number =>
    Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024
  const before = anonymous()
  let most = 0
  const compacting = archive.compact()
  const running = archive.capture(history.region, {
    onProgress: () => (most = Math.max(most, anonymous() - before)),
  })
  await running.done
  await compacting
  most = Math.max(most, anonymous() - before)
  expect(most).toBeLessThan(48 << 20)
})

test('who reads a frame while it is compacted keeps what he reads', async () => {
  const history = new History()
  await using archive = await openArchive(inDirectory('archive'))
  for (let n = 1; n <= 3; n++) await history.take(archive)
  const mapped = await archive.restore({ mode: 'map' })
  const bytes = Buffer.from(new Uint8Array(mapped.regions['main']?.buffer as ArrayBuffer))
  await archive.compact()
  await archive.prune({ retention: { last: 1 } })
  expect(
    Buffer.compare(bytes, Buffer.from(new Uint8Array(mapped.regions['main']?.buffer as ArrayBuffer))),
  ).toBe(0)
  mapped.close()
  await archive.prune({ retention: { last: 1 } })
  expect(await history.wrongOf(archive, await listOf(archive))).toEqual([])
})

test('frames are compacted as they were compressed', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place)
  history.bytes.fill(7)
  for (let n = 1; n <= 2; n++) await history.take(archive, { compression: 'zstd' })
  await archive.compact()
  expect(await inspect(pathOf(place, 2))).toMatchObject({ layout: 'packed' })
  expect((await listOf(archive))[1]?.fileSize).toBeLessThan(history.bytes.length)
})

test('a compaction that is aborted, or ended by close(), leaves all as it was', async () => {
  const place = inDirectory('archive')
  const history = new History(8 << 20)
  const archive = await openArchive(place)
  for (let n = 1; n <= 2; n++) await history.take(archive)
  const files = readdirSync(place)
  const controller = new AbortController()
  const compacting = archive.compact({ signal: controller.signal })
  controller.abort(new Error('enough'))
  expect(await rejectionOf(compacting)).toMatchObject({ message: 'enough' })
  const again = archive.compact()
  const outcome = rejectionOf(again)
  await archive.close()
  expect(await outcome).toMatchObject({ code: 'ERR_STILLFRAME_CLOSED' })
  expect(readdirSync(place)).toEqual(files)
})

test('a chain that cannot be read is not compacted, and the next frame begins another', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place)
  for (let n = 1; n <= 3; n++) await history.take(archive)
  const bytes = readFileSync(pathOf(place, 1))
  bytes[70_000] = (bytes[70_000] ?? 0) ^ 1
  writeFileSync(pathOf(place, 1), bytes)
  expect(await rejectionOf(archive.compact())).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
  await history.take(archive)
  const frames = await listOf(archive)
  expect(frames[3]).toMatchObject({ kind: 'full' })
  // One damaged frame does not make the others damaged.
  expect(await history.wrongOf(archive, frames.slice(3))).toEqual([])
  expect((await archive.verify()).frames.map(({ ok }) => ok)).toEqual([false, false, false, true])
})

test('a writer that died between the file and its manifest has left a full frame', async () => {
  const place = inDirectory('archive')
  const history = new History()
  let archive = await openArchive(place)
  for (let n = 1; n <= 3; n++) await history.take(archive)
  await archive.close()
  await compact(pathOf(place, 3), pathOf(place, 9))
  renameSync(pathOf(place, 9), pathOf(place, 3))
  archive = await openArchive(place)
  const [frame] = (await listOf(archive)).slice(-1)
  expect(frame).toMatchObject({ number: 3, kind: 'full', fileSize: statSync(pathOf(place, 3)).size })
  await archive.prune({ retention: { last: 1 } })
  expect(readdirSync(place).filter((name) => name.endsWith('.sf'))).toEqual(['0000000003.sf'])
  expect(await history.wrongOf(archive, await listOf(archive))).toEqual([])
  await archive.close()
})
