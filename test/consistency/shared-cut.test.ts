/**
 * Promise I1: every engine freezes shared Regions at one instant, while Workers write to them with
 * Atomics. Proved with two Workers that each increment cells in distant pages of two Regions in a
 * fixed order, and a third that records what it has seen of the first. In every snapshot, each cell
 * is equal to the one before it or one behind, and every recorded value had been written.
 */

import { setTimeout as pause } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { Region, restore, type SnapshotOptions, snapshot } from 'stillframe'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { longMode } from '../support/long-mode.mjs'
import { needsVariant } from '../support/needs.js'
import { seededRandom, testSeed } from '../support/random.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { allVariants, optionsOf } from '../support/variants.mjs'

const captures = longMode ? 2000 : 40
const page = 4096
const firstBytes = 4 << 20
const secondBytes = (1 << 20) + 123

const regions = {
  first: Region.allocate(firstBytes, { name: 'first', shared: true }),
  second: Region.allocate(secondBytes, { name: 'second', shared: true, hugePages: false }),
}
type Place = readonly [section: keyof typeof regions, byteOffset: number]

// For each counting Worker: from the end of the frozen memory to its beginning and back, across
// both Regions.
const placesOf: readonly (readonly Place[])[] = [0, 1].map((writer) => [
  ['second', secondBytes - 123 - (1 + writer) * page],
  ['first', writer * page],
  ['first', firstBytes - (1 + writer) * page],
  ['second', (20 + writer) * page],
  ['first', (530 + writer) * page],
])
const leader = placesOf[0]?.at(-1) as Place
const follower: Place = ['first', 2 * page]

const cellAt = ([section, byteOffset]: Place, buffers: Record<string, ArrayBufferLike>): Int32Array =>
  new Int32Array(buffers[section] as ArrayBufferLike, byteOffset, 1)
const live = { first: regions.first.buffer, second: regions.second.buffer }

const control = new SharedArrayBuffer(4)
const workers: Worker[] = []
const inDirectory = useTemporaryDirectory()

beforeAll(async () => {
  const plans = [
    ...placesOf.map((places) => ({ cells: places.map((place) => cellAt(place, live)), control })),
    { cells: [cellAt(follower, live)], follows: cellAt(leader, live), control },
  ]
  for (const workerData of plans) {
    const worker = new Worker(new URL('shared-cut-writer.mjs', import.meta.url), { workerData })
    workers.push(worker)
    await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
  }
})

afterAll(async () => {
  Atomics.store(new Int32Array(control), 0, 1)
  await Promise.all(workers.map((worker) => worker.terminate()))
})

interface Cut {
  readonly counters: readonly (readonly number[])[]
  readonly led: number
  readonly followed: number
}

function cutIn(buffers: Record<string, ArrayBufferLike>): Cut {
  const valueAt = (place: Place) => cellAt(place, buffers)[0] as number
  return {
    counters: placesOf.map((places) => places.map(valueAt)),
    led: valueAt(leader),
    followed: valueAt(follower),
  }
}

async function cutOf(path: string): Promise<Cut> {
  using restored = await restore(path, { verify: false })
  const buffers = Object.entries(restored.regions).map(([name, { buffer }]) => [name, buffer] as const)
  return cutIn(Object.fromEntries(buffers))
}

/** How far one counter is ahead of another. Counters wrap at 2^32. */
const ahead = (one = 0, other = 0): number => (one - other) | 0

/** Values of a cut that cannot have existed at any one instant. */
function tornIn({ counters, led, followed }: Cut): string[] {
  const torn = counters
    .filter((values) => {
      const falls = values.every((value, index) => index === 0 || ahead(values[index - 1], value) >= 0)
      return !falls || ahead(values[0], values.at(-1)) > 1
    })
    .map((values) => values.join(' '))
  return ahead(led, followed) >= 0 ? torn : [...torn, `saw ${followed} of ${led}`]
}

/** Takes frames while the Workers write; returns how many differed from the frame before. */
async function judge(count: number, optionsFor: (index: number) => SnapshotOptions): Promise<number> {
  const random = seededRandom(testSeed)
  let before: number | undefined
  let moved = 0
  for (let index = 0; index < count; index++) {
    await pause(random() * 2)
    const path = inDirectory(`frame-${index % 8}`)
    await snapshot(regions, path, { durable: false, nice: 0, ...optionsFor(index) }).done
    const cut = await cutOf(path)
    expect(tornIn(cut), `frame ${index}, seed ${testSeed}`).toEqual([])
    const now = cut.counters[0]?.[0]
    if (now !== before) moved++
    before = now
  }
  return moved
}

describe('no cut of shared Regions is torn while Workers write', () => {
  describe.each(allVariants)('by %s', (variant) => {
    test(`in ${captures} captures`, async (context) => {
      needsVariant(context, variant)
      expect(await judge(captures, () => optionsOf[variant])).toBeGreaterThan(captures / 2)
    })
  })

  test(`of recorded deltas, in ${captures} captures`, async (context) => {
    needsVariant(context, 'userfaultfd thread')
    const moved = await judge(captures, (index) => {
      const parent = index % 8 === 0 ? {} : { parent: inDirectory(`frame-${(index % 8) - 1}`) }
      return { ...optionsOf['userfaultfd thread'], trackChanges: true, ...parent }
    })
    expect(moved).toBeGreaterThan(captures / 2)
  })
})

test('a test like this can tell: one capture for each Region is torn', async () => {
  let torn = 0
  for (let round = 0; round < 50 && torn === 0; round++) {
    const buffers: Record<string, ArrayBuffer> = {}
    for (const [name, region] of Object.entries(regions)) {
      await snapshot({ [name]: region }, inDirectory(name), { durable: false, nice: 0, engine: 'fork' }).done
      buffers[name] = new ArrayBuffer(region.byteLength)
      await restore(inDirectory(name), { into: { [name]: buffers[name] } })
    }
    torn = tornIn(cutIn(buffers)).length
  }
  expect(torn).toBeGreaterThan(0)
})
