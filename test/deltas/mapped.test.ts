/**
 * Promise: for a region that is a mapping of a frame, a delta by fork reads only what was written
 * since, without a record of the writes, and restores to exactly the frozen contents, whatever
 * frame it builds on. Proved by the amount that was read, and against copies made at the call.
 */

import { openSync, readFileSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  capabilities,
  compact,
  Region,
  type Restored,
  restore,
  type SnapshotOptions,
  snapshot,
  verify,
} from 'stillframe'
import { expect, test } from 'vitest'
import { Random, testSeed } from '../support/random.mjs'
import { writeRandomly } from '../support/random-writes.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const directory = sharedTemporaryDirectory()
const MiB = 2 ** 20
const blockBytes = 262_144
const pageBytes = 4096

let frames = 0
const newPath = () => join(directory, `frame ${frames++}`)

type Sources = Record<string, Region | Uint8Array>
const bytesOf = (source: Region | Uint8Array): Uint8Array =>
  source instanceof Region ? new Uint8Array(source.buffer) : source

async function take(sources: Sources, options?: SnapshotOptions) {
  const expected = Object.fromEntries(
    Object.entries(sources).map(([name, source]) => [name, bytesOf(source).slice()]),
  )
  const path = newPath()
  const result = await snapshot(sources, path, { engine: 'fork', durable: false, ...options }).done
  return { result, path, expected }
}

async function expectHolds(path: string, expected: Readonly<Record<string, Uint8Array>>) {
  expect((await verify(path)).problems).toEqual([])
  using restored = await restore(path, { mode: 'copy' })
  for (const [name, bytes] of Object.entries(expected)) {
    expect(Buffer.compare(Buffer.from((restored.regions[name] as Region).buffer), bytes), name).toBe(0)
  }
}

const regionOf = (restored: Restored, name = 'main'): Region => restored.regions[name] as Region

/** A full frame of random bytes with zeros in between, whose last block is partial. */
async function fullFrame(seed = 1, byteLength = 8 * MiB + 5 * pageBytes + 100) {
  using region = Region.allocate(byteLength)
  const bytes = bytesOf(region)
  new Random(seed).fill(bytes)
  bytes.fill(0, MiB, MiB + 3 * blockBytes)
  return await take({ main: region })
}

test('only blocks that were written since are read, by whomever', async () => {
  const full = await fullFrame()
  using restored = await restore(full.path, { mode: 'map' })
  const region = regionOf(restored)
  const bytes = bytesOf(region)
  const nothing = await take({ main: region }, { parent: full.path })
  expect(nothing.result).toMatchObject({ scannedBytes: 0, changedBytes: 0 })
  await expectHolds(nothing.path, nothing.expected)
  // Reading the memory makes no difference.
  expect(bytes.reduce((sum, byte) => sum + byte, 0)).toBeGreaterThan(0)
  bytes[5] = (bytes[5] ?? 0) ^ 1
  bytes[MiB] = 1
  // A write by the kernel, at the end, in a partial block.
  const file = newPath()
  writeFileSync(file, 'from a file')
  readSync(openSync(file, 'r'), bytes, bytes.length - 11, 11, 0)
  const some = await take({ main: region }, { parent: full.path })
  expect(some.result).toMatchObject({
    scannedBytes: 2 * blockBytes + 5 * pageBytes + 100,
    changedBytes: 3 * pageBytes,
  })
  await expectHolds(some.path, some.expected)
  // Blocks that were written but equal the parent are read, and are no changes.
  const again = await take({ main: region }, { parent: some.path })
  expect(again.result).toMatchObject({ changedBytes: 0, scannedBytes: some.result.scannedBytes })
  await expectHolds(again.path, again.expected)
})

test('a region that was mapped from a chain is read where newer files have pages', async () => {
  const full = await fullFrame()
  using region = Region.allocate(full.expected['main']?.length ?? 0)
  const bytes = bytesOf(region)
  bytes.set(full.expected['main'] as Uint8Array)
  bytes[4 * MiB] = (bytes[4 * MiB] ?? 0) ^ 1
  const delta = await take({ main: region }, { parent: full.path })
  using restored = await restore(delta.path, { mode: 'map' })
  bytesOf(regionOf(restored))[6 * MiB] = 77
  const next = await take({ main: regionOf(restored) }, { parent: delta.path })
  expect(next.result).toMatchObject({ scannedBytes: 2 * blockBytes, changedBytes: pageBytes })
  await expectHolds(next.path, next.expected)
  // It is not known how an older frame differs from the restored one.
  const older = await take({ main: regionOf(restored) }, { parent: full.path })
  expect(older.result).toMatchObject({ scannedBytes: older.result.byteLength, changedBytes: 2 * pageBytes })
  await expectHolds(older.path, older.expected)
})

test('long runs of newer files are mapped from them, and are not read until they are written to', async () => {
  const full = await fullFrame()
  using region = Region.allocate(full.expected['main']?.length ?? 0)
  const bytes = bytesOf(region)
  bytes.set(full.expected['main'] as Uint8Array)
  const random = new Random(2)
  const paths = [full.path]
  // Runs that newer runs cover in part, hide, and cut in two; single pages; zeros; the end.
  for (const runs of [
    [
      [MiB, 3 * MiB],
      [5 * MiB, MiB],
      [bytes.length - 65_636, 65_636],
    ],
    [
      [2 * MiB + 3 * pageBytes, 100 * pageBytes],
      [5 * MiB, MiB],
      [7 * MiB + 5, 1],
    ],
    [
      [3 * MiB, 0],
      [3 * MiB + 40 * pageBytes, 16 * pageBytes],
      [bytes.length - 1, 1],
    ],
  ] as [number, number][][]) {
    for (const [start, length] of runs) random.fill(bytes.subarray(start, start + length))
    bytes.fill(0, 3 * MiB, 3 * MiB + 20 * pageBytes)
    paths.push((await take({ main: region }, { parent: paths.at(-1) as string })).path)
  }
  using restored = await restore(paths.at(-1) as string, { mode: 'map' })
  expect(Buffer.compare(bytesOf(regionOf(restored)), bytes)).toBe(0)
  const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  // If memory pages are larger than those of a file, newer runs may begin anywhere, and are copied.
  const mappable = capabilities().pageSize === pageBytes
  for (const path of mappable ? paths : paths.slice(0, 1)) {
    const ofFile = mappings.filter((mapping) => mapping.includes(` ${path}\n`))
    expect(ofFile.length, path).toBeGreaterThan(0)
    // Excluded from child processes and from core dumps.
    for (const mapping of ofFile) expect(mapping).toMatch(/^VmFlags:(?=.* dc\b).* dd\b/m)
  }
  const next = await take({ main: regionOf(restored) }, { parent: paths.at(-1) as string })
  expect(next.result.changedBytes).toBe(0)
  // The blocks with copied pages: zeros, one page, and the end.
  if (mappable) expect(next.result.scannedBytes).toBeLessThanOrEqual(5 * blockBytes)
  const written = bytesOf(regionOf(restored))
  written[MiB + 5] = (written[MiB + 5] ?? 0) ^ 1
  written[2 * MiB + 70 * pageBytes] = (written[2 * MiB + 70 * pageBytes] ?? 0) ^ 1
  const changed = await take({ main: regionOf(restored) }, { parent: next.path })
  expect(changed.result.changedBytes).toBe(2 * pageBytes)
  await expectHolds(changed.path, changed.expected)
  // The writes have not reached the files.
  await expectHolds(paths.at(-1) as string, { main: bytes })
})

test('what the parent has otherwise than the file is read, though nobody has written to it', async () => {
  const full = await fullFrame()
  using other = Region.allocate(full.expected['main']?.length ?? 0)
  const bytes = bytesOf(other)
  bytes.set(full.expected['main'] as Uint8Array)
  bytes.fill(9, 2 * MiB, 2 * MiB + 10)
  bytes.fill(0, 5 * MiB, 5 * MiB + pageBytes)
  const delta = await take({ main: other }, { parent: full.path })
  using restored = await restore(full.path, { mode: 'map' })
  const next = await take({ main: regionOf(restored) }, { parent: delta.path })
  expect(next.result).toMatchObject({ scannedBytes: 2 * blockBytes, changedBytes: 2 * pageBytes })
  await expectHolds(next.path, next.expected)
})

test('all is read where the file is not the one at the end of the chain, or not known to be', async () => {
  const full = await fullFrame()
  const byteLength = full.result.byteLength
  using restored = await restore(full.path, { mode: 'map' })
  const region = regionOf(restored)
  bytesOf(region)[0] = 3
  const stranger = await fullFrame(2)
  const onStranger = await take({ main: region }, { parent: stranger.path })
  expect(onStranger.result.scannedBytes).toBe(byteLength)
  await expectHolds(onStranger.path, onStranger.expected)
  // Another section of the same frame, a part of the region, and a frame without a parent.
  const renamed = await take({ other: region }, { parent: full.path })
  expect(renamed.result.scannedBytes).toBe(byteLength)
  await expectHolds(renamed.path, renamed.expected)
  const part = bytesOf(region).subarray(MiB, 3 * MiB)
  const ofPart = await take({ main: part }, { parent: full.path })
  expect(ofPart.result.scannedBytes).toBe(part.length)
  await expectHolds(ofPart.path, ofPart.expected)
  const delta = await take({ main: region }, { parent: full.path })
  const compacted = newPath()
  await compact(delta.path, compacted, { durable: false })
  const onCompacted = await take({ main: region }, { parent: compacted })
  expect(onCompacted.result).toMatchObject({ scannedBytes: byteLength, changedBytes: 0 })
  const byMprotect = await take({ main: region }, { parent: full.path, engine: 'mprotect' })
  expect(byMprotect.result).toMatchObject({ scannedBytes: byteLength, changedBytes: pageBytes })
  await expectHolds(byMprotect.path, byMprotect.expected)
})

test('sections of one frame that lie in one file are told apart', async () => {
  using a = Region.allocate(2 * MiB)
  using b = Region.allocate(2 * MiB)
  new Random(1).fill(bytesOf(a))
  new Random(2).fill(bytesOf(b))
  const full = await take({ a, b })
  using restored = await restore(full.path, { mode: 'map' })
  const swapped = await take(
    { a: regionOf(restored, 'b'), b: regionOf(restored, 'a') },
    { parent: full.path },
  )
  expect(swapped.result).toMatchObject({ scannedBytes: 4 * MiB, changedBytes: 4 * MiB })
  await expectHolds(swapped.path, swapped.expected)
})

test('every frame of a history of a mapped region comes back', async () => {
  console.log(`seed ${testSeed}`)
  const full = await fullFrame()
  using restored = await restore(full.path, { mode: 'map' })
  const region = regionOf(restored)
  const random = new Random(testSeed)
  const taken = [full]
  let read = 0
  for (let frame = 0; frame < 30; frame++) {
    writeRandomly(bytesOf(region), random, random.below(20))
    const parent = taken[random.below(taken.length)] as typeof full
    const compression = random.below(2) === 0 ? 'none' : 'zstd'
    const next = await take({ main: region }, { parent: parent.path, compression })
    read += next.result.scannedBytes
    taken.push(next)
  }
  expect(read).toBeLessThan(30 * full.result.byteLength)
  for (const { path, expected } of taken) await expectHolds(path, expected)
})
