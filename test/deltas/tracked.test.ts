/**
 * Promise: with `trackChanges`, a frame reads only what was written since the frame with which the
 * record begins, and still restores to exactly the frozen contents, whoever wrote, whatever failed
 * in between, and whichever engine took other frames. Proved against copies made at the call, by
 * the amount that was read, and with a seeded history over several regions.
 */

import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  compact,
  preflight,
  Region,
  restore,
  type SnapshotOptions,
  type SnapshotResult,
  snapshot,
  verify,
} from 'stillframe'
import { afterEach, expect, type TestContext, test } from 'vitest'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { needsVariant } from '../support/needs.js'
import { Random, testSeed } from '../support/random.mjs'
import { writeRandomly } from '../support/random-writes.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { allVariants, optionsOf, type Variant, whyNot } from '../support/variants.mjs'

const directory = sharedTemporaryDirectory()
const MiB = 2 ** 20
const unitBytes = 2 * MiB
const pageBytes = 4096

let frames = 0
afterEach(() => clearFaults())

interface Options extends Omit<SnapshotOptions, 'trackChanges'> {
  trackChanges?: boolean | undefined
}

type Sources = Readonly<Record<string, Region>>
const start = (sources: Sources, options?: Options) =>
  snapshot(sources, join(directory, `frame ${frames++}`), {
    durable: false,
    trackChanges: true,
    ...options,
  })

/** Takes a frame; returns its result and a copy of the memory at the call. */
async function take(sources: Sources, options?: Options) {
  const expected = copyOf(sources)
  const result = await start(sources, options).done
  return { result, expected }
}

function copyOf(sources: Sources): Record<string, Uint8Array> {
  return Object.fromEntries(
    Object.entries(sources).map(([name, region]) => [name, new Uint8Array(region.buffer.slice(0))]),
  )
}

async function expectHolds(path: string, expected: Readonly<Record<string, Uint8Array>>) {
  using restored = await restore(path, { mode: 'copy', verify: true })
  expect(Object.keys(restored.regions).sort()).toEqual(Object.keys(expected).sort())
  for (const [name, bytes] of Object.entries(expected)) {
    const { buffer } = restored.regions[name] as Region
    expect(Buffer.compare(Buffer.from(buffer), bytes), `${path}: ${name}`).toBe(0)
  }
}

/** A region in which no two pages are equal. */
function filled(byteLength: number, seed = 1): { region: Region; bytes: Uint8Array } {
  const region = Region.allocate(byteLength)
  const bytes = new Uint8Array(region.buffer)
  new Random(seed).fill(bytes)
  return { region, bytes }
}

const increment = (bytes: Uint8Array, at: number): void => {
  bytes[at] = (bytes[at] ?? 0) + 1
}

test('a frame reads only the units that were written since its parent', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(16 * MiB + 4097)
  const first = await take({ region })
  expect(first.result).toMatchObject({
    kind: 'full',
    engine: 'userfaultfd',
    faultHandling: 'thread',
    scannedBytes: 0,
  })
  let parent = first.result
  for (const [written, scannedBytes] of [
    [[], 0],
    [[3 * unitBytes + 5], unitBytes],
    [[0, 1, pageBytes, unitBytes, 5 * unitBytes - 1], 3 * unitBytes],
    // The last unit is 4097 bytes long.
    [[bytes.length - 1], 4097],
    [[], 0],
  ] as const) {
    for (const at of written) increment(bytes, at)
    const { result, expected } = await take({ region }, { parent })
    const pages = new Set(written.map((at) => Math.floor(at / pageBytes)))
    expect(result).toMatchObject({ kind: 'delta', parentId: parent.id, scannedBytes })
    expect(result.changedBytes).toBe(pages.size * pageBytes)
    await expectHolds(result.path, expected)
    parent = result
  }
  expect((await verify(parent.path)).problems).toEqual([])
  await expectHolds(first.result.path, first.expected)
  region.close()
})

test('zero pages are counted and restored, whether they were read or not', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  // Half of the region has never been touched.
  const region = Region.allocate(8 * MiB)
  const bytes = new Uint8Array(region.buffer)
  new Random(1).fill(bytes.subarray(0, 4 * MiB))
  const first = await take({ region })
  expect(first.result.pages.zero).toBe(1024)
  bytes.fill(0, 0, unitBytes)
  bytes[7 * MiB] = 1
  const second = await take({ region }, { parent: first.result })
  expect(second.result).toMatchObject({ scannedBytes: 2 * unitBytes, changedBytes: 513 * pageBytes })
  expect(second.result.pages.zero).toBe(1024 + 512 - 1)
  await expectHolds(second.result.path, second.expected)
  region.close()
})

test('what the kernel writes between two frames is seen', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(8 * MiB)
  const { result: parent } = await take({ region })
  const path = join(directory, 'input')
  writeFileSync(path, new Uint8Array(100_000).fill(7))
  const fd = openSync(path, 'r')
  readSync(fd, bytes, unitBytes - 50_000, 100_000, 0)
  closeSync(fd)
  const { result, expected } = await take({ region }, { parent })
  expect(result.scannedBytes).toBe(2 * unitBytes)
  expect(bytes[unitBytes]).toBe(7)
  await expectHolds(result.path, expected)
  region.close()
})

test('so is what a restore fills in', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(8 * MiB)
  const older = await take({ region })
  new Random(2).fill(bytes)
  const { result: parent } = await take({ region }, { parent: older.result })
  await restore(older.result.path, { into: { region } })
  const { result, expected } = await take({ region }, { parent })
  expect(Buffer.compare(bytes, older.expected['region'] as Uint8Array)).toBe(0)
  await expectHolds(result.path, expected)
  region.close()
})

test('a write during a capture is in the next frame, and not in this one', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(16 * MiB)
  let { result: parent } = await take({ region })
  const random = new Random(3)
  for (let frame = 0; frame < 20; frame++) {
    const expected = copyOf({ region })
    // Some captures are slow, so that the writes find pages in every state.
    const running = start({ region }, { parent, ...(frame % 4 === 0 && { maxBytesPerSecond: 4 * MiB }) })
    for (let write = 0; write < 50; write++) increment(bytes, random.below(bytes.length))
    region.prepareWrite(random.below(8 * MiB), 10_000)
    for (let write = 0; write < 50; write++) {
      increment(bytes, random.below(4 * MiB))
      if (write % 10 === 0) await new Promise(setImmediate)
    }
    parent = await running.done
    await expectHolds(parent.path, expected)
  }
  const { result, expected } = await take({ region }, { parent })
  await expectHolds(result.path, expected)
  region.close()
})

test('a frame that was aborted, or that failed, loses nothing', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(16 * MiB)
  const { result: parent } = await take({ region })
  increment(bytes, 0)
  const aborted = start({ region }, { parent, maxBytesPerSecond: 4096 })
  increment(bytes, unitBytes)
  aborted.abort()
  await expect(aborted.done).rejects.toMatchObject({ name: 'AbortError' })
  increment(bytes, 2 * unitBytes)
  injectFault('pwrite', 1, 'EIO', true)
  await expect(start({ region }, { parent }).done).rejects.toMatchObject({ code: 'ERR_STILLFRAME_IO' })
  clearFaults()
  increment(bytes, 3 * unitBytes)
  injectFault('linkat', 1, 'EIO', true)
  await expect(start({ region }, { parent }).done).rejects.toMatchObject({ code: 'ERR_STILLFRAME_IO' })
  clearFaults()
  increment(bytes, 4 * unitBytes)
  const { result, expected } = await take({ region }, { parent })
  expect(result).toMatchObject({ scannedBytes: 5 * unitBytes, changedBytes: 5 * pageBytes })
  await expectHolds(result.path, expected)
  region.close()
})

test('a freeze that is refused loses nothing', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(16 * MiB)
  const { result: parent } = await take({ region })
  for (const unit of [1, 3, 5]) increment(bytes, unit * unitBytes)
  // Protection succeeds for the first of the three units, and fails for the second.
  injectFault('ioctl', 2, 'ENOMEM')
  expect(() => start({ region }, { parent })).toThrow(expect.objectContaining({ code: 'ERR_STILLFRAME_IO' }))
  clearFaults()
  for (const unit of [1, 3, 5]) increment(bytes, unit * unitBytes + 100_000)
  const { result, expected } = await take({ region }, { parent })
  expect(result).toMatchObject({ scannedBytes: 3 * unitBytes, changedBytes: 6 * pageBytes })
  await expectHolds(result.path, expected)
  region.close()
})

test('where faults can no longer be handled the record ends, and writes go on', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(8 * MiB)
  const first = await take({ region })
  injectFault('ioctl', 1, 'ENOMEM', true)
  increment(bytes, 0)
  increment(bytes, unitBytes)
  clearFaults()
  const second = await take({ region }, { parent: first.result })
  expect(second.result).toMatchObject({ scannedBytes: bytes.length, changedBytes: 2 * pageBytes })
  await expectHolds(second.result.path, second.expected)
  // The record has started over.
  increment(bytes, 0)
  const third = await take({ region }, { parent: second.result })
  expect(third.result.scannedBytes).toBe(unitBytes)
  await expectHolds(third.result.path, third.expected)
  region.close()
})

test('not given, the record goes on from the frame that it began with; false ends it', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(8 * MiB)
  const { result: base } = await take({ region })
  for (let unit = 0; unit < 3; unit++) {
    increment(bytes, unit * unitBytes)
    const { result, expected } = await take({ region }, { parent: base, trackChanges: undefined })
    expect(result.scannedBytes).toBe((unit + 1) * unitBytes)
    await expectHolds(result.path, expected)
  }
  const last = await take({ region }, { parent: base, trackChanges: false })
  expect(last.result.scannedBytes).toBe(3 * unitBytes)
  await expectHolds(last.result.path, last.expected)
  // Every engine can capture the memory again.
  for (const variant of allVariants.filter((each) => whyNot(each) === undefined)) {
    const { result, expected } = await take(
      { region },
      { parent: last.result, trackChanges: undefined, ...optionsOf[variant] },
    )
    expect(result).toMatchObject({ engine: optionsOf[variant].engine, scannedBytes: bytes.length })
    await expectHolds(result.path, expected)
  }
  region.close()
})

test('with another parent than the base, everything is read', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(8 * MiB)
  const first = await take({ region })
  increment(bytes, 0)
  const second = await take({ region }, { parent: first.result })
  increment(bytes, unitBytes)
  const third = await take({ region }, { parent: first.result })
  expect(third.result).toMatchObject({ scannedBytes: bytes.length, changedBytes: 2 * pageBytes })
  await expectHolds(third.result.path, third.expected)
  await expectHolds(second.result.path, second.expected)
  // The parent is recognized by its path alone, too.
  increment(bytes, 2 * unitBytes)
  const fourth = await take({ region }, { parent: third.result.path })
  expect(fourth.result.scannedBytes).toBe(unitBytes)
  await expectHolds(fourth.result.path, fourth.expected)
  // A compaction is the same frame, so the record continues from it.
  const full = await compact(fourth.result.path, join(directory, 'compacted'), { durable: false })
  const fifth = await take({ region }, { parent: full })
  expect(fifth.result).toMatchObject({ scannedBytes: 0, changedBytes: 0 })
  await expectHolds(fifth.result.path, fifth.expected)
  region.close()
})

test('sections that are renamed or swapped are read', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const one = filled(4 * MiB, 1)
  const two = filled(4 * MiB, 2)
  const { result: first } = await take({ a: one.region, b: two.region })
  const swapped = await take({ b: one.region, a: two.region }, { parent: first })
  expect(swapped.result).toMatchObject({ scannedBytes: 8 * MiB, changedBytes: 8 * MiB })
  await expectHolds(swapped.result.path, swapped.expected)
  increment(one.bytes, 5)
  const renamed = await take({ b: one.region, c: two.region }, { parent: swapped.result })
  expect(renamed.result.scannedBytes).toBe(unitBytes + 4 * MiB)
  await expectHolds(renamed.result.path, renamed.expected)
  one.region.close()
  two.region.close()
})

test('regions may come and go, and be used by a part of the frames', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const one = filled(4 * MiB, 1)
  let two = filled(4 * MiB, 2)
  const { result: first } = await take({ one: one.region, two: two.region })
  two.region.close()
  increment(one.bytes, 0)
  const second = await take({ one: one.region }, { parent: first })
  expect(second.result.scannedBytes).toBe(unitBytes)
  await expectHolds(second.result.path, second.expected)
  // The new region may be at the address of the closed one.
  two = filled(4 * MiB, 3)
  const third = await take({ one: one.region, two: two.region }, { parent: second.result })
  expect(third.result).toMatchObject({ scannedBytes: 4 * MiB, changedBytes: 4 * MiB })
  await expectHolds(third.result.path, third.expected)
  // An untracked region next to a tracked one.
  const other = filled(3 * MiB, 4)
  const fourth = await take(
    { one: one.region, other: other.region },
    { parent: third.result, trackChanges: undefined },
  )
  expect(fourth.result).toMatchObject({ engine: 'userfaultfd', scannedBytes: 3 * MiB })
  await expectHolds(fourth.result.path, fourth.expected)
  for (const { region } of [one, two, other]) region.close()
})

test('every other engine works beside a record, which goes on from its base', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(8 * MiB)
  const { result: base } = await take({ region })
  let unit = 0
  for (const engine of ['fork', 'mprotect'] as const) {
    increment(bytes, unit++ * unitBytes)
    const before = copyOf({ region })
    const running = start(
      { region },
      { parent: base, engine, ...(engine === 'mprotect' && { kernelWrites: false }) },
    )
    increment(bytes, unit++ * unitBytes)
    const result = await running.done
    expect(result).toMatchObject({ engine, scannedBytes: bytes.length })
    await expectHolds(result.path, before)
  }
  const { result, expected } = await take({ region }, { parent: base })
  expect(result).toMatchObject({ scannedBytes: 4 * unitBytes, changedBytes: 4 * pageBytes })
  await expectHolds(result.path, expected)
  region.close()
})

test('a fork that runs beside a tracked capture disturbs neither', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(16 * MiB)
  const { result: base } = await take({ region })
  new Random(2).fill(bytes)
  const expected = copyOf({ region })
  const slow = { parent: base, maxBytesPerSecond: 8 * MiB } as const
  const tracked = start({ region }, slow)
  increment(bytes, unitBytes)
  increment(bytes, 10 * MiB)
  const beside = copyOf({ region })
  const forked = start({ region }, { ...slow, trackChanges: undefined })
  expect(forked.engine).toBe('fork')
  // The part that is read last has not been read yet.
  increment(bytes, 15 * MiB)
  const [result, other] = await Promise.all([tracked.done, forked.done])
  expect(result.scannedBytes).toBe(16 * MiB)
  await expectHolds(result.path, expected)
  await expectHolds(other.path, beside)
  const next = await take({ region }, { parent: result })
  expect(next.result).toMatchObject({ scannedBytes: 3 * unitBytes, changedBytes: 3 * pageBytes })
  await expectHolds(next.result.path, next.expected)
  region.close()
})

test('what cannot be tracked is compared by content, without a word', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(4 * MiB)
  const buffer = new ArrayBuffer(MiB)
  const mixed = { region, buffer }
  const at = (name: string) => join(directory, `mixed ${name}`)
  const options = { durable: false, trackChanges: true }
  const first = await snapshot(mixed, at('0'), options).done
  expect(first.engine).toBe('fork')
  increment(bytes, 0)
  const second = await snapshot(mixed, at('1'), { ...options, parent: first }).done
  expect(second).toMatchObject({ scannedBytes: 5 * MiB, changedBytes: pageBytes })
  // A region that is mapped from a file cannot be tracked either.
  using restored = await restore(first.path, { mode: 'map' })
  const mapped = await snapshot(restored.regions['region'] as Region, at('2'), options).done
  expect(mapped.engine).toBe('fork')
  expect(await preflight(region, at('3'), options)).toMatchObject({ engine: 'userfaultfd' })
  region.close()
})

test('it is taken for memory that the kernel does not write to as well', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(4 * MiB)
  for (const engine of ['auto', 'userfaultfd'] as const) {
    const options = { engine, kernelWrites: false } as const
    const { result: first } = await take({ region }, options)
    expect(first.faultHandling).toBe('thread')
    increment(bytes, 0)
    const { result, expected } = await take({ region }, { ...options, parent: first })
    expect(result.scannedBytes).toBe(unitBytes)
    await expectHolds(result.path, expected)
  }
  region.close()
})

/** Opens a descriptor through which direct reads are possible. */
function openDirect(context: TestContext): number {
  const path = join(directory, 'direct')
  writeFileSync(path, new Uint8Array(pageBytes))
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECT)
  } catch (error) {
    return context.skip(`the filesystem of the temporary directory does not take O_DIRECT: ${error}`)
  }
}

test('no record begins while direct reads may pass it by, and one that has begun goes on', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(8 * MiB)
  const { result: base } = await take({ region })
  increment(bytes, 0)
  let fd = openDirect(context)
  const forked = await take({ region }, { parent: base })
  expect(forked.result).toMatchObject({ engine: 'fork', scannedBytes: bytes.length })
  await expectHolds(forked.result.path, forked.expected)
  closeSync(fd)
  increment(bytes, unitBytes)
  const next = await take({ region }, { parent: base })
  expect(next.result).toMatchObject({ engine: 'userfaultfd', scannedBytes: 2 * unitBytes })
  await expectHolds(next.result.path, next.expected)

  // The caller promises that nothing is read into the memory during the capture, which says nothing
  // about later.
  fd = openDirect(context)
  const quiet = await take({ region }, { parent: next.result, kernelWrites: false })
  expect(quiet.result).toMatchObject({ engine: 'userfaultfd', scannedBytes: bytes.length })
  await expectHolds(quiet.result.path, quiet.expected)
  const again = await take({ region }, { parent: quiet.result, kernelWrites: false })
  expect(again.result).toMatchObject({ scannedBytes: bytes.length, changedBytes: 0 })
  closeSync(fd)
  const first = await take({ region }, { parent: again.result, kernelWrites: false })
  expect(first.result.scannedBytes).toBe(bytes.length)
  const second = await take({ region }, { parent: first.result, kernelWrites: false })
  expect(second.result.scannedBytes).toBe(0)
  region.close()
})

test('a capture that can no longer handle faults fails, and the next frame is right', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const { region, bytes } = filled(16 * MiB)
  const { result: base } = await take({ region })
  new Random(2).fill(bytes)
  const running = start({ region }, { parent: base, maxBytesPerSecond: 4 * MiB })
  injectFault('ioctl', 1, 'ENOMEM', true)
  for (let at = bytes.length - pageBytes; at > 8 * MiB; at -= 100 * pageBytes) increment(bytes, at)
  await expect(running.done).rejects.toMatchObject({ code: 'ERR_STILLFRAME_IO' })
  clearFaults()
  increment(bytes, 0)
  const { result, expected } = await take({ region }, { parent: base })
  expect(result.scannedBytes).toBe(bytes.length)
  await expectHolds(result.path, expected)
  const next = await take({ region }, { parent: result })
  expect(next.result.scannedBytes).toBe(0)
  region.close()
})

test('the fault thread ends with its region, however that ends, and where it began', (context) => {
  needsVariant(context, 'userfaultfd thread')
  const program = fileURLToPath(new URL('fixtures/tracked-lifetimes.mjs', import.meta.url))
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', program, directory], {
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  expect(stdout).toBe('closed: 0\ncollected: 0\nworker: 0\nterminated: 0\n')
  expect(status).toBe(0)
})

test('every frame of a history comes back, whatever was written, aborted and taken by other engines', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  console.log(`seed ${testSeed}`)
  const random = new Random(testSeed)
  const variants = allVariants.filter((variant) => whyNot(variant) === undefined)
  const sources: Record<string, Region> = {}
  const bytesOf = (name: string) => new Uint8Array((sources[name] as Region).buffer)
  const refill = (name: string) => {
    sources[name] = Region.allocate([5 * MiB + 4097, 4 * MiB, 9 * MiB][random.below(3)] as number)
    if (random.below(3) > 0) random.fill(bytesOf(name))
  }
  for (const name of ['a', 'b', 'c']) refill(name)
  const names = (): string[] => Object.keys(sources)
  const write = () => {
    for (const name of names()) {
      if (random.below(3) === 0) continue
      const bytes = bytesOf(name)
      // Writes are limited to a part, so that some units stay unchanged.
      const from = random.below(bytes.length)
      writeRandomly(bytes.subarray(from, from + random.below(3 * MiB)), random, 10)
    }
  }
  const taken: { path: string; expected: Record<string, Uint8Array> }[] = []
  let parent: SnapshotResult | undefined
  let saved = 0
  for (let frame = 0; frame < 100; frame++) {
    if (frame % 25 === 0) parent = undefined
    if (random.below(12) === 0) {
      const name = names()[random.below(3)] as string
      sources[name]?.close()
      refill(name)
    }
    const variant: Variant | undefined =
      random.below(4) === 0 ? (variants[random.below(variants.length)] as Variant) : undefined
    const part = random.below(5) === 0 ? names().slice(0, 2) : names()
    const cut = Object.fromEntries(part.map((name) => [name, sources[name] as Region]))
    const expected = copyOf(cut)
    const running = start(cut, {
      ...(variant === undefined ? {} : optionsOf[variant]),
      parent,
      trackChanges: [true, true, true, true, undefined, false][random.below(6)],
      ...(random.below(4) === 0 && { memoryLimit: 64 * 1024 }),
      ...(random.below(4) === 0 && { compression: 'zstd' as const }),
    })
    write()
    if (random.below(5) === 0) running.abort()
    if (random.below(10) === 0) injectFault('pwrite', 1, 'EIO')
    const result = await running.done.catch(() => undefined)
    clearFaults()
    if (result !== undefined) {
      taken.push({ path: result.path, expected })
      if (result.kind === 'delta') saved += result.byteLength - result.scannedBytes
      // Some frames are not built on.
      if (random.below(6) > 0) parent = result
    }
    if (random.below(3) > 0) write()
  }
  expect(taken.length).toBeGreaterThan(40)
  expect(saved).toBeGreaterThan(50 * MiB)
  for (const { path, expected } of taken) await expectHolds(path, expected)
  for (const name of names()) sources[name]?.close()
})
