/**
 * Promises I1 and I9 for the engines that freeze memory in the process itself: the files contain
 * regions exactly as they were at the call, whatever was written before, during and after, and no
 * write is lost. Proved with random histories of writes over one or several regions of all sizes.
 * The oracle is a copy made at the call.
 */

import { join } from 'node:path'
import fc from 'fast-check'
import { Region, snapshot } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { needsVariant } from '../support/needs.js'
import { Random, seeded } from '../support/random.mjs'
import { touchAllPages, writeRandomly } from '../support/random-writes.js'
import { differenceAfterRestore } from '../support/restored.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { inProcessVariants, optionsOf } from '../support/variants.mjs'

const directory = sharedTemporaryDirectory()
const chunk = 4 << 20

/**
 * Sizes around the borders of pages, blocks, huge pages and chunks, and large sizes, much of which
 * is frozen for long.
 */
const lengths = fc.oneof(
  fc.integer({ min: 1, max: 3 * 4096 }),
  fc.integer({ min: 2 * chunk, max: 4 * chunk }),
  fc
    .tuple(fc.constantFrom(4096, 65536, 262144, 2 << 20, chunk), fc.integer({ min: -2, max: 2 }))
    .map(([border, delta]) => border + delta),
)
const histories = fc.record({
  byteLengths: fc.array(lengths, { minLength: 1, maxLength: 4 }),
  hugePages: fc.boolean(),
  // From two pages, where most writes wait for the saver, to more than all pages.
  memoryLimit: fc.constantFrom(8192, 1 << 20, 1 << 30),
  touched: fc.boolean(),
  seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
})

describe.each(inProcessVariants)('%s', (variant) => {
  test('a file holds the memory as it was at the call, and the memory every write', async (context) => {
    needsVariant(context, variant)
    let copied = 0
    await fc.assert(
      fc.asyncProperty(histories, async ({ byteLengths, hugePages, memoryLimit, touched, seed }) => {
        const random = new Random(seed)
        const regions = byteLengths.map((byteLength) => Region.allocate(byteLength, { hugePages }))
        const memory = regions.map(({ buffer }) => new Uint8Array(buffer))
        for (const bytes of memory) {
          if (touched) random.fill(bytes)
          writeRandomly(bytes, random, 200)
        }
        const expected = Object.fromEntries(memory.map((bytes, i) => [`part ${i}`, new Uint8Array(bytes)]))
        const sources = Object.fromEntries(regions.map((region, i) => [`part ${i}`, region]))

        const path = join(directory, 'history.snap')
        const { done } = snapshot(sources, path, { ...optionsOf[variant], memoryLimit, durable: false })
        // Backwards, since the saver starts at the front.
        for (const bytes of memory.toReversed()) {
          writeRandomly(bytes, random, 200)
          touchAllPages(bytes)
        }
        await new Promise((resolve) => setImmediate(resolve))
        for (const bytes of memory) writeRandomly(bytes, random, 200)
        const after = memory.map((bytes) => new Uint8Array(bytes))
        const result = await done
        copied += result.pages.copied

        for (const [i, bytes] of memory.entries()) {
          expect(Buffer.compare(bytes, after[i] as Uint8Array), `memory of part ${i}`).toBe(0)
        }
        expect(await differenceAfterRestore(path, expected)).toBeUndefined()
        for (const region of regions) region.close()
      }),
      seeded(15),
    )
    expect(copied, 'no write came before the saver').toBeGreaterThan(0)
  })
})
