// Promise I9: restore(snapshot(x)) = x at every border of pages, blocks and chunks, and for memory
// that is partly or entirely zero. Proved with each border size, each pattern of zeros, and several
// sections in one file.

import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { inspect, snapshot, verify } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { Random } from '../support/random.mjs'
import { differenceAfterRestore } from '../support/restored.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { kindOf, type Specimen } from './sources.js'

const directory = sharedTemporaryDirectory()
const page = 4096
const block = 256 * 1024
const chunk = 4 * 1024 * 1024
const path = join(directory, 'border.snap')

const borders = [page, 65536, block, chunk]
const sizes = [
  1,
  ...borders.flatMap((border) => [border - 1, border, border + 1]),
  2 * chunk,
  chunk + block + 99,
]

/** Patterns written to memory that is zero so far. */
const patterns: Readonly<Record<string, (bytes: Uint8Array) => void>> = {
  'never touched': () => {},
  'all zero, written': (bytes) => bytes.fill(0),
  random: (bytes) => new Random(bytes.length).fill(bytes),
  'every other page zero': (bytes) => fillEveryOther(bytes, page),
  'every other block zero': (bytes) => fillEveryOther(bytes, block),
  'only the last byte set': (bytes) => bytes.fill(9, bytes.length - 1),
  'only the first byte set': (bytes) => bytes.fill(9, 0, 1),
  'only the last byte of each page set': (bytes) => {
    for (let at = page - 1; at < bytes.length; at += page) bytes[at] = 1
  },
}

function fillEveryOther(bytes: Uint8Array, step: number): void {
  const random = new Random(step)
  for (let at = step; at < bytes.length; at += 2 * step) random.fill(bytes.subarray(at, at + step))
}

async function differenceAfterCapture(specimens: Record<string, Specimen>): Promise<string | undefined> {
  const entries = Object.entries(specimens)
  const expected = Object.fromEntries(entries.map(([name, { bytes }]) => [name, new Uint8Array(bytes)]))
  const sources = Object.fromEntries(entries.map(([name, { source }]) => [name, source]))
  const { done } = snapshot(sources, path, { durable: false })
  for (const { bytes } of Object.values(specimens)) bytes.fill(0x77)
  await done
  const { problems } = await verify(path)
  if (problems.length > 0) return JSON.stringify(problems)
  return differenceAfterRestore(path, expected)
}

describe.each(['a Region with huge pages', 'an ArrayBuffer', 'a Buffer'])(
  'what comes back of %s is what was there',
  (kindName) => {
    const kind = kindOf(kindName)
    it.each(sizes)('with %i bytes, in each pattern of zeros', async (byteLength) => {
      const specimens = Object.fromEntries(
        Object.entries(patterns).map(([name, fill]) => {
          const specimen = kind.make(byteLength, 4093)
          fill(specimen.bytes)
          return [name, specimen] as const
        }),
      )
      try {
        expect(await differenceAfterCapture(specimens)).toBeUndefined()
      } finally {
        for (const specimen of Object.values(specimens)) specimen.close()
      }
    })
  },
)

describe('what comes back of a file with many sections is what was there', () => {
  it('with one section of each border size, empty ones between them', async () => {
    const region = kindOf('a Region with huge pages')
    const view = kindOf('a Buffer')
    const specimens: Record<string, Specimen> = { 'empty first': region.make(0, 0) }
    for (const [index, byteLength] of sizes.entries()) {
      const specimen = (index % 2 === 0 ? region : view).make(byteLength, index * 31)
      new Random(index).fill(specimen.bytes)
      specimens[`${byteLength} bytes`] = specimen
      specimens[`empty behind ${byteLength}`] = (index % 2 === 0 ? view : region).make(0, 0)
    }
    expect(await differenceAfterCapture(specimens)).toBeUndefined()
    for (const specimen of Object.values(specimens)) specimen.close()
  })

  it('with nothing but empty sections', async () => {
    const specimens = {
      region: kindOf('a Region with huge pages').make(0, 0),
      buffer: kindOf('an ArrayBuffer').make(0, 0),
      view: kindOf('a DataView').make(0, 3),
      shared: kindOf('a SharedArrayBuffer').make(0, 0),
      memory: kindOf('a WebAssembly.Memory').make(0, 0),
    }
    expect(await differenceAfterCapture(specimens)).toBeUndefined()
  })

  it('with a thousand sections', async () => {
    const kind = kindOf('a Uint8Array')
    const specimens = Object.fromEntries(
      Array.from({ length: 1000 }, (_, index) => {
        const specimen = kind.make(index % 7 === 0 ? 0 : index * 3, index % 5)
        new Random(index).fill(specimen.bytes)
        return [`s${index}`, specimen] as const
      }),
    )
    expect(await differenceAfterCapture(specimens)).toBeUndefined()
  })
})

describe('memory is neither stored nor shown beyond its end', () => {
  it('the rest of a last page is zero in the file, also behind a chunk full of other bytes', async () => {
    for (const byteLength of [1, page - 1, block + 1, chunk + 1, chunk + 5 * page + 100]) {
      // The source is followed by other bytes in memory: a canary that must not leak.
      const owner = new Uint8Array(byteLength + 2 * page).fill(0xcc)
      await snapshot(owner.subarray(0, byteLength), path, { durable: false }).done
      const { sections } = await inspect(path)
      const end = (sections[0]?.fileOffset ?? 0) + byteLength
      const rest = Buffer.alloc((page - (end % page)) % page, 1)
      const file = openSync(path, 'r')
      readSync(file, rest, 0, rest.length, end)
      closeSync(file)
      expect(rest.equals(Buffer.alloc(rest.length))).toBe(true)
    }
  })

  it('zero blocks take no space', async () => {
    const region = kindOf('a Region with huge pages').make(64 << 20, 0)
    region.bytes.fill(1, 10 * block, 10 * block + 1)
    const result = await snapshot(region.source, path, { durable: false }).done
    const [section] = (await inspect(path)).sections
    expect(section?.storedBytes).toBe(block)
    expect(result.pages).toMatchObject({ total: (64 << 20) / page, zero: (64 << 20) / page - 1 })
    region.close()
  })
})
