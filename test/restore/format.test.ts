// Promise I9: the file format is what docs/FORMAT.md says, so that others can read it and we still can in ten
// years. Proved with a second reader, written from the document alone (scripts/dump-image.mjs), on the golden
// file and on fresh snapshots.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { type Compression, inspect, snapshot } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { XXHash3 } from 'xxhash-addon'
import { checksumsOf, dumpImage, parseImage, structs } from '../../scripts/dump-image.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { golden } from './golden/contents.mjs'

const inDirectory = useTemporaryDirectory()
const goldenFile = gunzipSync(readFileSync(new URL('golden/flat-1.0.sf.gz', import.meta.url)))
const packedFile = gunzipSync(readFileSync(new URL('golden/packed-1.0.sf.gz', import.meta.url)))
const document = readFileSync(fileURLToPath(new URL('../../docs/FORMAT.md', import.meta.url)), 'utf8')

const checksum = (bytes: Uint8Array) => XXHash3.hash(Buffer.from(bytes)).readBigUInt64BE()

/** A fresh snapshot, as bytes. */
async function snapshotOf(
  sources: Record<string, Uint8Array>,
  metadata: string[],
  compression: Compression = 'none',
): Promise<Buffer> {
  const path = inDirectory('fresh')
  await snapshot(sources, path, { metadata, compression }).done
  return readFileSync(path)
}

const fresh = {
  tiny: Uint8Array.of(1, 2, 3),
  empty: new Uint8Array(0),
  'two blocks and a bit': new Uint8Array(600_000).fill(9, 100_000, 110_000).fill(8, 599_000),
}

describe.each([
  ['the golden file', () => goldenFile, golden['flat-1.0'].sections, golden['flat-1.0'].metadata],
  ['a fresh snapshot', () => snapshotOf(fresh, ['m']), fresh, ['m']],
  ['the packed golden file', () => packedFile, golden['packed-1.0'].sections, golden['packed-1.0'].metadata],
  ['a fresh packed snapshot', () => snapshotOf(fresh, ['m'], 'zstd'), fresh, ['m']],
] as const)('%s, read from the document alone', (_, make, sections: Record<string, Uint8Array>, metadata) => {
  it('holds sections, metadata and checksums where they should be', async () => {
    const file = await make()
    const image = parseImage(file)
    expect(image.sections.map(({ name }) => name)).toEqual(Object.keys(sections))
    for (const { name, bytes } of image.sections) {
      expect(Buffer.compare(bytes, sections[name] as Uint8Array), name).toBe(0)
    }
    expect(JSON.parse(image.metadata)).toEqual(metadata)
    const sums = checksumsOf(file, image)
    expect(sums.length).toBeGreaterThan(6)
    for (const { name, stored, bytes } of sums) expect(checksum(bytes), name).toBe(stored)
  })

  it('is aligned, without gaps that are not zero, and names the pages that are not', async () => {
    const file = await make()
    const { header, entries, sections, trailer } = parseImage(file)
    const packed = header.values.layout === 1
    expect(trailer.values.file_length).toBe(file.length)
    expect(trailer.values.index_offset % 65536).toBe(0)
    const used = new Uint8Array(file.length)
    used.fill(1, 0, 4096)
    used.fill(1, trailer.values.index_offset, trailer.values.metadata_offset + trailer.values.metadata_length)
    used.fill(1, file.length - 4096)
    for (const { values, bytes } of sections) {
      expect(values.data_offset % 65536).toBe(0)
      if (packed) expect(values.data_offset).toBe(0)
      else used.fill(1, values.data_offset, values.data_offset + bytes.length)
    }
    // Each byte of a packed file belongs to one block at most.
    for (const { values } of entries) {
      if (!packed || values.present === 0n) continue
      const end = values.file_offset + values.stored_length
      expect(used.subarray(values.file_offset, end).every((byte) => byte === 0)).toBe(true)
      used.fill(1, values.file_offset, end)
    }
    expect(file.some((byte, offset) => used[offset] === 0 && byte !== 0)).toBe(false)
    for (const { values } of entries) {
      const { data_offset, byte_length } = sections[values.section]?.values ?? {}
      const inSection = values.block * 262_144
      const start = data_offset + inSection
      const pages = Math.ceil(Math.min(262_144, byte_length - inSection) / 4096)
      const memory = sections[values.section]?.bytes as Uint8Array
      let present = 0n
      for (let page = 0; page < pages; page++) {
        const bytes = memory.subarray(inSection + page * 4096, inSection + (page + 1) * 4096)
        if (bytes.some((byte) => byte !== 0)) present |= 1n << BigInt(page)
      }
      expect(values.present).toBe(present)
      if (packed) continue
      expect(values.file_offset).toBe(present === 0n ? 0 : start)
      expect(values.stored_length).toBe(present === 0n ? 0 : pages * 4096)
    }
  })
})

describe('docs/FORMAT.md', () => {
  it('shows the golden file as it is', () => {
    for (const line of dumpImage(goldenFile).split('\n')) expect(document).toContain(line)
  })

  it('shows an entry of the packed golden file as it is', () => {
    const [, entry = ''] = dumpImage(packedFile).split(/^(?=index entry)/m)
    for (const line of entry.trim().split('\n')) expect(document).toContain(line)
  })

  it('has each field in its table, at its offset', () => {
    for (const [kind, fields] of Object.entries(structs)) {
      let offset = 0
      for (const [name, length] of fields) {
        const row = new RegExp(`\\| ${offset} \\| ${length} \\| \`${name}\` \\|`)
        expect(document, `${kind}.${name}`).toMatch(row)
        offset += Number(length)
      }
    }
  })

  it('says which version is written', async () => {
    const path = inDirectory('version')
    await snapshot(Uint8Array.of(1), path).done
    const { version } = await inspect(path)
    expect(document).toContain(`version ${version.major}.${version.minor}`)
    writeFileSync(path, goldenFile)
    expect((await inspect(path)).version.major).toBeLessThanOrEqual(version.major)
  })
})
