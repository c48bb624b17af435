// Promise I1 and I9: a file contains the memory exactly as it was at the call, whatever kind of
// memory it is and whatever was written before, during and after. Proved with random histories of
// writes to every kind of source. The oracle is a copy made at the call, compared with each way of
// restoring.

import { join } from 'node:path'
import fc from 'fast-check'
import { type Source, snapshot } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { Random, seeded } from '../support/random.mjs'
import { touchAllPages, writeRandomly } from '../support/random-writes.js'
import { differenceAfterRestore } from '../support/restored.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { hold } from './forked-copy.js'
import { type Kind, kinds, type Specimen, sizeFor } from './sources.js'

const directory = sharedTemporaryDirectory()
const chunk = 4 << 20

/** Sizes, biased towards the borders at which the code takes another path. */
const lengths = fc.oneof(
  fc.integer({ min: 1, max: 3 * 4096 }),
  fc.integer({ min: 1, max: 2 * chunk + 4096 }),
  fc
    .tuple(fc.constantFrom(4096, 65536, 262144, chunk, 2 * chunk), fc.integer({ min: -2, max: 2 }))
    .map(([border, delta]) => border + delta),
)
const offsets = fc.oneof(fc.constantFrom(0, 1, 8, 4095, 4096, 4097), fc.integer({ min: 0, max: 9000 }))
const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 })

/**
 * Captures `specimens` while writing to them; returns a description of where the restored bytes
 * differ from the oracle.
 */
async function captureUnderWrites(
  specimens: Readonly<Record<string, Specimen>>,
  seed: number,
): Promise<string | undefined> {
  const path = join(directory, 'history.snap')
  const random = new Random(seed)
  const all = Object.values(specimens)
  for (const { bytes } of all) {
    if (random.below(4) > 0) random.fill(bytes)
    writeRandomly(bytes, random, 200)
  }
  const names = Object.entries(specimens)
  const expected = Object.fromEntries(names.map(([name, { bytes }]) => [name, new Uint8Array(bytes)]))
  const sources = Object.fromEntries(names.map(([name, { source }]) => [name, source]))

  // The only engine that accepts every kind; test/engines/history.test.ts covers the others.
  const running = hold(() => snapshot(loneOrNamed(sources), path, { engine: 'fork', durable: false }))
  try {
    for (const { bytes } of all) {
      touchAllPages(bytes)
      writeRandomly(bytes, random, 200)
    }
  } finally {
    running.release()
  }
  for (let turn = 0; turn < 3; turn++) {
    await new Promise((resolve) => setImmediate(resolve))
    for (const { bytes } of all) writeRandomly(bytes, random, 200)
  }
  const after = all.map(({ bytes }) => new Uint8Array(bytes))
  await running.value.done
  const kept = all.every(({ bytes }, index) => Buffer.compare(bytes, after[index] as Uint8Array) === 0)
  if (!kept) return 'the memory itself was changed by the capture'
  return differenceAfterRestore(path, expected)
}

function loneOrNamed(sources: Record<string, Source>): Source | Record<string, Source> {
  const names = Object.keys(sources)
  return names.length === 1 && names[0] === 'main' ? (sources['main'] as Source) : sources
}

describe('a file holds the memory as it was at the call', () => {
  it.each(kinds.map((kind) => [kind.name, kind] as const))('of %s', async (_name, kind: Kind) => {
    await fc.assert(
      fc.asyncProperty(lengths, offsets, seeds, async (byteLength, byteOffset, seed) => {
        const main = kind.make(sizeFor(kind, byteLength), byteOffset)
        try {
          expect(await captureUnderWrites({ main }, seed)).toBeUndefined()
        } finally {
          main.close()
        }
      }),
      seeded(8),
    )
  })

  it('of many sources of all kinds at once', async () => {
    const parts = fc.array(fc.tuple(fc.integer({ min: 0, max: kinds.length - 1 }), lengths, offsets), {
      minLength: 2,
      maxLength: 9,
    })
    await fc.assert(
      fc.asyncProperty(parts, seeds, async (chosen, seed) => {
        const specimens = chosen.map(([index, byteLength, byteOffset]) => {
          const kind = kinds[index] as Kind
          return kind.make(sizeFor(kind, byteLength), byteOffset)
        })
        try {
          const named = Object.fromEntries(specimens.map((specimen, index) => [`part ${index}`, specimen]))
          expect(await captureUnderWrites(named, seed)).toBeUndefined()
        } finally {
          for (const specimen of specimens) specimen.close()
        }
      }),
      seeded(12),
    )
  })
})

describe('a second capture of the same memory holds its own instant', () => {
  it.each(kinds.map((kind) => [kind.name, kind] as const))('of %s', async (_name, kind: Kind) => {
    const specimen = kind.make(sizeFor(kind, chunk + 300_001), 4097)
    const random = new Random(1)
    const jobs: { path: string; expected: Uint8Array; done: Promise<unknown> }[] = []
    try {
      for (let i = 0; i < 3; i++) {
        writeRandomly(specimen.bytes, random, 500)
        const path = join(directory, `instant-${i}.snap`)
        const expected = new Uint8Array(specimen.bytes)
        jobs.push({ path, expected, done: snapshot(specimen.source, path, { durable: false }).done })
      }
      touchAllPages(specimen.bytes)
      for (const { path, expected, done } of jobs) {
        await done
        expect(await differenceAfterRestore(path, { main: expected })).toBeUndefined()
      }
    } finally {
      await Promise.allSettled(jobs.map(({ done }) => done))
      specimen.close()
    }
  })
})

describe('the histories above write while a capture runs', () => {
  it('since the forked copy is held while they write', async () => {
    const memory = new Uint8Array(8 * chunk).fill(1)
    const path = join(directory, 'held.snap')
    const running = hold(() => snapshot(memory, path, { durable: false }))
    try {
      const before = running.value.progress.bytesDone
      memory.fill(2)
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(running.value.progress.bytesDone).toBe(before)
      expect(before).toBeLessThan(memory.length)
    } finally {
      running.release()
    }
    await running.value.done
    expect(
      await differenceAfterRestore(path, { main: new Uint8Array(memory.length).fill(1) }),
    ).toBeUndefined()
  })
})
