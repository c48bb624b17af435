/**
 * Promise: a frame that builds on another contains only the differences, whatever engine froze it
 * and whatever kind of memory it is of, and every frame of a chain restores to the frozen contents.
 * Proved with seeded histories over all engines and kinds of memory, against copies made at the
 * call, with aborted and failed captures in between.
 */

import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect, Region, restore, type SnapshotResult, type Source, snapshot, verify } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { kinds, type Specimen, sizeFor } from '../consistency/sources.js'
import { needsVariant } from '../support/needs.js'
import { Random, testSeed } from '../support/random.mjs'
import { writeRandomly } from '../support/random-writes.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { allVariants, optionsOf, type Variant, whyNot } from '../support/variants.mjs'

const directory = sharedTemporaryDirectory()
const MiB = 2 ** 20
const pageBytes = 4096

/**
 * Describes where the memory of the regions differs from the expected contents; undefined if
 * nowhere.
 */
async function difference(
  path: string,
  expected: Readonly<Record<string, Uint8Array>>,
  options: Parameters<typeof restore>[1],
): Promise<string | undefined> {
  const restored = await restore(path, options)
  try {
    if (Object.keys(restored.regions).sort().join() !== Object.keys(expected).sort().join())
      return `${path} has sections ${Object.keys(restored.regions)}`
    for (const [name, bytes] of Object.entries(expected)) {
      const region = restored.regions[name]
      if (region === undefined || Buffer.compare(Buffer.from(region.buffer), bytes) !== 0)
        return `${path}: ${name} is not what was frozen`
    }
    return undefined
  } finally {
    restored.close()
  }
}

describe.each(allVariants)('%s', (variant) => {
  test('a frame holds only the pages that were written since its parent', async (context) => {
    needsVariant(context, variant)
    const region = Region.allocate(16 * MiB + 5)
    const bytes = new Uint8Array(region.buffer)
    new Random(1).fill(bytes)
    const options = { ...optionsOf[variant], durable: false }
    const path = join(directory, variant)
    const full = await snapshot(region, `${path} full`, options).done
    expect(full).toMatchObject({ kind: 'full', changedBytes: bytes.length, scannedBytes: 0 })
    expect(full).not.toHaveProperty('parentId')

    for (const page of [0, 7, 1000]) bytes[page * pageBytes] = (bytes[page * pageBytes] ?? 0) + 1
    bytes.fill(0, 300 * pageBytes, 301 * pageBytes)
    const expected = { main: new Uint8Array(bytes) }
    const running = snapshot(region, `${path} delta`, { ...options, parent: full })
    bytes.fill(0xee)
    const delta = await running.done
    expect(delta).toMatchObject({
      kind: 'delta',
      parentId: full.id,
      changedBytes: 4 * pageBytes,
      scannedBytes: bytes.length,
      byteLength: bytes.length,
    })
    expect(delta.fileSize).toBeLessThan(256 * 1024)
    expect(await inspect(delta.path)).toMatchObject({ id: delta.id, parentId: full.id })
    for (const mode of ['copy', 'map'] as const)
      expect(await difference(delta.path, expected, { mode })).toBeUndefined()
    const into = new Uint8Array(bytes.length)
    await restore(delta.path, { into: { main: into } })
    expect(Buffer.compare(into, expected.main)).toBe(0)
    expect((await verify(delta.path)).problems).toEqual([])
    region.close()
  })
})

test('every frame of a history comes back, whatever engine froze it and what failed in between', async () => {
  const random = new Random(testSeed)
  console.log(`seed ${testSeed}`)
  const variants = allVariants.filter((variant) => whyNot(variant) === undefined)
  const region = Region.allocate(3 * MiB + 4097)
  const bytes = new Uint8Array(region.buffer)
  random.fill(bytes)
  const frames: { path: string; expected: Uint8Array }[] = []
  let parent: SnapshotResult | undefined
  for (let frame = 0; frame < 200; frame++) {
    const variant = variants[random.below(variants.length)] as Variant
    const path = join(directory, `history ${frame}`)
    // Chains have at most 25 frames.
    if (frame % 25 === 0) parent = undefined
    const options = {
      ...optionsOf[variant],
      durable: false,
      parent,
      compression: random.below(2) === 0 ? ('zstd' as const) : ('none' as const),
    }
    const expected = new Uint8Array(bytes)
    const running = snapshot(region, path, options)
    writeRandomly(bytes, random, 30)
    if (random.below(5) === 0) {
      running.abort()
      await running.done.catch(() => {})
    }
    // A frame that was aborted too late exists.
    const result = await running.done.catch(() => undefined)
    if (result !== undefined) {
      frames.push({ path, expected })
      parent = result
    }
    writeRandomly(bytes, random, 30)
    if (random.below(4) === 0) bytes.fill(0, random.below(bytes.length))
    if (random.below(4) === 0) random.fill(bytes.subarray(random.below(bytes.length)))
  }
  expect(frames.length).toBeGreaterThan(100)
  for (const { path, expected } of frames) {
    const mode = random.below(2) === 0 ? 'copy' : undefined
    expect(await difference(path, { main: expected }, mode ? { mode } : {})).toBeUndefined()
  }
  const last = frames.at(-1)
  expect((await verify(last?.path ?? '')).problems).toEqual([])
  region.close()
})

test('every kind of memory is compared with its parent, also beside memory that came or went', async () => {
  const random = new Random(testSeed)
  const specimens = new Map<string, Specimen>(
    kinds.map((kind) => [kind.name, kind.make(sizeFor(kind, MiB + 1), 3)]),
  )
  for (const { bytes } of specimens.values()) random.fill(bytes)
  let parent: SnapshotResult | undefined
  for (let frame = 0; frame < 8; frame++) {
    // Leaves out every seventh source, others in each frame.
    const names = [...specimens.keys()].filter((_, index) => index % 7 !== frame % 7)
    const sources: Record<string, Source> = {}
    const expected: Record<string, Uint8Array> = {}
    for (const name of names) {
      const specimen = specimens.get(name)
      if (specimen === undefined) continue
      sources[name] = specimen.source
      expected[name] = new Uint8Array(specimen.bytes)
    }
    const path = join(directory, `kinds ${frame}`)
    const running = snapshot(sources, path, { engine: 'fork', durable: false, parent })
    for (const { bytes } of specimens.values()) writeRandomly(bytes, random, 20)
    parent = await running.done
    expect(await difference(path, expected, { mode: 'copy' })).toBeUndefined()
  }
  for (const specimen of specimens.values()) specimen.close()
})

test('the parent may be a path, a URL, a Snapshot or its result', async () => {
  const region = Region.allocate(MiB)
  const at = (name: string): string => join(directory, `forms ${name}`)
  const options = { engine: 'fork', durable: false } as const
  const first = snapshot(region, at('0'), options)
  const { id } = await first.done
  for (const parent of [at('0'), pathToFileURL(at('0')), first, await first.done]) {
    const delta = await snapshot(region, at('1'), { ...options, parent }).done
    expect(delta).toMatchObject({ kind: 'delta', parentId: id, changedBytes: 0 })
  }
  for (const parent of [7, null, {}, '', { id, path: 7 }]) {
    // @ts-expect-error none of these is a parent
    expect(() => snapshot(region, at('1'), { ...options, parent })).toThrow(TypeError)
  }
  region.close()
})
