/**
 * Promise: a file never takes more resources of the process that reads it than the process permits
 * (I6). Proved with valid files that require many: sections, mappings, and metadata with many
 * values and deep nesting.
 */

import { inspect, type ReadLimits, Region, restore, snapshot, verify } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { EditableImage } from '../support/image-editor.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const memory = new Uint8Array(70_000).fill(1)
const tooMuch = { code: 'ERR_OUT_OF_RANGE', name: 'RangeError' }

/** The errors of each function for the file. */
async function refusals(path: string, limits?: ReadLimits) {
  const options = limits && { limits }
  const into = { into: { main: new ArrayBuffer(memory.length) } }
  return await Promise.all([
    rejectionOf(inspect(path, options)),
    rejectionOf(verify(path, options)),
    rejectionOf(restore(path, options)),
    rejectionOf(restore(path, { ...into, ...options })),
  ])
}

describe('sections', () => {
  // All zero except one byte: some filesystems take minutes to remove a file with tens of thousands
  // of single pages.
  const zeros = new Uint8Array(65_536)
  const sourcesOf = (count: number) => {
    const sources = Array.from({ length: count }, (_, n) => [`s${n}`, zeros.subarray(n, n + 1)] as const)
    return { ...Object.fromEntries(sources), s0: memory.subarray(0, 1) }
  }

  test('more than the process has mappings for are not restored into regions of their own', async () => {
    const path = inDirectory('many')
    await snapshot(sourcesOf(65_535), path).done
    for (const mode of ['map', 'copy'] as const) {
      const error = await rejectionOf(restore(path, { mode }))
      expect(error).toMatchObject(tooMuch)
      expect(error.message).toContain('vm.max_map_count')
    }
    // Other ways of reading give access to all of them.
    expect((await verify(path)).ok).toBe(true)
    using some = await restore(path, { sections: ['s0', 's65534'] })
    expect(Object.keys(some.regions)).toEqual(['s0', 's65534'])
    const into = Object.fromEntries(
      Array.from({ length: 1000 }, (_, n) => [`s${n}`, new Uint8Array(1)] as const),
    )
    await restore(path, { into })
    expect(into.s0).toEqual(Uint8Array.of(1))
  })

  test('mappings: as many as the caller allows', async () => {
    const path = inDirectory('ten')
    await snapshot(sourcesOf(10), path).done
    for (const mode of ['map', 'copy'] as const) {
      const error = await rejectionOf(restore(path, { mode, limits: { mappings: 9 } }))
      expect(error).toMatchObject(tooMuch)
      expect(error.message).toContain('limits.mappings')
      using restored = await restore(path, { mode, limits: { mappings: 10 } })
      expect(Object.keys(restored.regions)).toHaveLength(10)
    }
    // Restoring into existing memory needs no mapping.
    await restore(path, { into: { s3: Region.allocate(1) }, limits: { mappings: 0 } })
  })

  test('sections: as many as the caller allows', async () => {
    const path = inDirectory('ten')
    await snapshot(sourcesOf(10), path).done
    for (const error of await refusals(path, { sections: 9 })) {
      expect(error).toMatchObject(tooMuch)
      expect(error.message).toContain('limits.sections')
    }
    expect((await inspect(path, { limits: { sections: 10 } })).sections).toHaveLength(10)
  })
})

describe('metadata', () => {
  const path = () => inDirectory('metadata')

  /** Writes a file with this text as its metadata, which snapshot() itself would not write. */
  async function writeMetadata(text: string): Promise<void> {
    await snapshot(memory, path(), { metadata: 'x'.repeat(text.length - 2) }).done
    const image = new EditableImage(path())
    image.bytes.write(text, image.metadataAt, 'latin1')
    image.save(path())
  }

  const valuesOf = (count: number) => `[${'0,'.repeat(count - 2)}0]`
  const deepOf = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`

  test.each([
    ['a quarter of a million values and one more', valuesOf(250_001), 'limits.metadataValues'],
    ['30 MiB of empty arrays', `[${'[],'.repeat(10 << 20)}0]`, 'limits.metadataValues'],
    ['a thousand levels and one more', deepOf(1001), 'limits.metadataDepth'],
  ])('%s is refused before it is parsed', async (_, text, limit) => {
    await writeMetadata(text)
    for (const error of await refusals(path())) {
      expect(error).toMatchObject(tooMuch)
      expect(error.message).toContain(limit)
    }
  })

  test('what is at the limits is written and read', async () => {
    const sideBySide = `[${'[],'.repeat(2000)}0]`
    const inAText = `"\\"${'[,'.repeat(250_000)}"`
    for (const text of [valuesOf(250_000), deepOf(1000), sideBySide, inAText]) {
      const metadata = JSON.parse(text) as string
      await snapshot(memory, path(), { metadata }).done
      expect(JSON.stringify((await inspect(path())).metadata)).toBe(text)
    }
  })

  test('and what is beyond them is not written', () => {
    const values = JSON.parse(valuesOf(250_001)) as string
    const deep = JSON.parse(deepOf(1001)) as string
    // With its quotation marks, the string is one byte longer than 64 MiB.
    for (const metadata of [values, deep, 'x'.repeat(2 ** 26 - 1)]) {
      const error = thrownBy(() => snapshot(memory, path(), { metadata }))
      expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
      expect(error.message).toMatch(/options.metadata must .* at most/)
    }
  })

  test('as much as the caller allows', async () => {
    await snapshot(memory, path(), { metadata: { a: [1, { b: '[,' }] } }).done
    for (const [limits, fits] of [
      [{ metadataBytes: 19 }, { metadataBytes: 20 }],
      [{ metadataValues: 4 }, { metadataValues: 5 }],
      [{ metadataDepth: 2 }, { metadataDepth: 3 }],
    ] as const) {
      for (const error of await refusals(path(), limits)) {
        expect(error).toMatchObject(tooMuch)
        expect(error.message).toContain(`limits.${Object.keys(limits)[0]}`)
      }
      expect((await inspect(path(), { limits: fits })).metadata).toEqual({ a: [1, { b: '[,' }] })
    }
  })

  test('more than by default, where the caller asks for it', async () => {
    await writeMetadata(valuesOf(250_001))
    expect((await inspect(path(), { limits: { metadataValues: 300_000 } })).metadata).toHaveLength(250_000)
  })
})

describe('limits', () => {
  test.each([
    [{ section: 1 }, 'options.limits.section is not a known option'],
    [{ sections: 0 }, 'options.limits.sections must be'],
    [{ mappings: -1 }, 'options.limits.mappings must be'],
    [{ metadataDepth: 1.5 }, 'options.limits.metadataDepth must be'],
    [7, 'options.limits must be an object'],
    [null, 'options.limits must be an object'],
  ])('%j is refused', async (limits, message) => {
    const path = inDirectory('none')
    for (const read of [inspect, verify, restore]) {
      const error = await rejectionOf(read(path, { limits: limits as object }))
      expect(error.message).toContain(message)
    }
  })
})
