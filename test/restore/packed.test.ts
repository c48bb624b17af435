/**
 * Promise: a compressed snapshot restores byte for byte, with every engine, level and way of
 * restoring, and errors clearly explain unsupported uses. Proved with sections of all kinds of
 * content, against copies made at the call.
 */

import { statSync } from 'node:fs'
import { inspect, Region, restore, snapshot, verify } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { needsVariant } from '../support/needs.js'
import { seededRandom } from '../support/random.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { allVariants, optionsOf } from '../support/variants.mjs'

const inDirectory = useTemporaryDirectory()
const MiB = 2 ** 20

/**
 * One region for each kind of content. No length is a whole number of pages except that of the
 * zeros.
 */
function makeRegions(): Record<string, Region> {
  const random = seededRandom(7)
  const contents: Record<string, [number, (bytes: Uint8Array) => void]> = {
    text: [5 * MiB + 1, (bytes) => bytes.set(Buffer.alloc(bytes.length, 'compressible, mostly. '))],
    noise: [
      MiB + 4097,
      (bytes) => {
        for (let i = 0; i < bytes.length; i++) bytes[i] = random() * 256
      },
    ],
    zeros: [4 * MiB, () => {}],
    sparse: [
      9 * MiB + 77,
      (bytes) => {
        for (const at of [0, MiB, 8 * MiB - 1, 9 * MiB + 76]) bytes[at] = 1
      },
    ],
    byte: [1, (bytes) => bytes.fill(255)],
  }
  return Object.fromEntries(
    Object.entries(contents).map(([name, [length, fill]]) => {
      const region = Region.allocate(length, { name })
      fill(new Uint8Array(region.buffer))
      return [name, region]
    }),
  )
}

const bytesOf = (region: Region | undefined): Buffer =>
  region === undefined ? Buffer.alloc(0) : Buffer.from(region.buffer, 0, region.byteLength)

const levels = [-50, 1, 19]

describe.each(allVariants)('%s', (variant) => {
  test.for(levels)('every section comes back, level %i', async (level, context) => {
    needsVariant(context, variant)
    const path = inDirectory('file')
    const sources = makeRegions()
    const expected = Object.fromEntries(
      Object.entries(sources).map(([name, region]) => [name, Buffer.from(bytesOf(region))]),
    )
    const options = { ...optionsOf[variant], durable: false, compression: { codec: 'zstd' as const, level } }
    const taken = snapshot(sources, path, options)
    for (const region of Object.values(sources)) new Uint8Array(region.buffer).fill(0xaa)
    const { fileSize } = await taken.done
    expect(fileSize).toBe(statSync(path).size)

    for (const check of [true, false]) {
      const restored = await restore(path, { verify: check })
      for (const [name, bytes] of Object.entries(expected))
        expect(bytesOf(restored.regions[name]).equals(bytes), name).toBe(true)
      restored.close()
    }
    expect(await verify(path)).toMatchObject({ ok: true, problems: [] })
    for (const region of Object.values(sources)) region.close()
  })
})

describe('a packed file', () => {
  test('goes into existing memory, and leaves what lies behind a section alone', async () => {
    const path = inDirectory('file')
    const sources = makeRegions()
    await snapshot(sources, path, { compression: 'zstd' }).done
    const text = Region.allocate(6 * MiB)
    const noise = new ArrayBuffer(2 * MiB)
    const behind = new Uint8Array(text.buffer, 5 * MiB + 1).fill(3)
    await restore(path, { into: { text, noise } })
    expect(
      bytesOf(text)
        .subarray(0, 5 * MiB + 1)
        .equals(bytesOf(sources['text'])),
    ).toBe(true)
    expect(behind.every((byte) => byte === 3)).toBe(true)
    expect(Buffer.from(noise, 0, MiB + 4097).equals(bytesOf(sources['noise']))).toBe(true)
  })

  test('is described, with what each section takes', async () => {
    const path = inDirectory('file')
    await snapshot(makeRegions(), path, { compression: 'zstd', metadata: { a: 1 } }).done
    const { layout, sections, metadata } = await inspect(path)
    expect({ layout, metadata }).toEqual({ layout: 'packed', metadata: { a: 1 } })
    const stored = Object.fromEntries(sections.map(({ name, storedBytes }) => [name, storedBytes]))
    expect(stored['zeros']).toBe(0)
    expect(stored['text']).toBeLessThan(MiB / 10)
    expect(stored['noise']).toBeGreaterThan(MiB)
  })

  test("is not mapped: mode 'map' says what to do instead", async () => {
    const path = inDirectory('file')
    await snapshot(makeRegions(), path, { compression: 'zstd' }).done
    await expect(restore(path, { mode: 'map' })).rejects.toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      message: expect.stringMatching(/compressed.*'copy'/),
    })
  })

  test('can be restored, changed and captured again', async () => {
    const path = inDirectory('file')
    await snapshot(makeRegions(), path, { compression: 'zstd' }).done
    const restored = await restore(path)
    new Uint8Array((restored.regions['text'] as Region).buffer)[4096] = 1
    await snapshot(restored.regions, path, { compression: 'zstd' }).done
    const again = await restore(path)
    expect(bytesOf(again.regions['text']).equals(bytesOf(restored.regions['text']))).toBe(true)
    again.close()
    restored.close()
  })
})
