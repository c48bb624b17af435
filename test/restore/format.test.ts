// Promise I9: the file format matches docs/FORMAT.md, so that others can read it, and we can still
// read it in ten years. Proved with a second reader, written from the document alone
// (scripts/dump-image.mjs), on golden files and on fresh snapshots, both full ones and deltas.

import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { type Compression, inspect, type JsonValue, snapshot } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { XXHash3, XXHash128 } from 'xxhash-addon'
import { checksumsOf, dumpImage, parseImage, stateOf, structs } from '../../scripts/dump-image.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { golden } from './golden/contents.mjs'

const inDirectory = useTemporaryDirectory()
const goldenOf = (name: string) => gunzipSync(readFileSync(new URL(`golden/${name}.sf.gz`, import.meta.url)))
const goldenFile = goldenOf('flat-1.0')
const packedFile = goldenOf('packed-1.0')
const deltaFile = goldenOf('delta-none-1.0')
const document = readFileSync(fileURLToPath(new URL('../../docs/FORMAT.md', import.meta.url)), 'utf8')

/** XXH3-64 or XXH3-128. */
function hash(bytes: Uint8Array, bits: number): bigint {
  const digest = (bits === 128 ? XXHash128 : XXHash3).hash(Buffer.from(bytes))
  return BigInt(`0x${digest.toString('hex')}`)
}

/**
 * Bytes of a fresh snapshot. A state with a parent is saved as a delta on a fresh snapshot of that
 * parent.
 */
async function snapshotOf(
  { sections, metadata, parent }: State,
  compression: Compression = 'none',
  name = 'fresh',
): Promise<Buffer> {
  const path = inDirectory(name)
  if (parent !== undefined) await snapshotOf(parent, compression, `parent of ${name}`)
  const options = { metadata, compression, parent: parent && inDirectory(`parent of ${name}`) }
  await snapshot(sections, path, options).done
  return readFileSync(path)
}

/** Contents of a file and of its parent. */
interface State {
  sections: Record<string, Uint8Array>
  metadata: JsonValue
  parent?: State
}

const fresh: State = {
  sections: {
    tiny: Uint8Array.of(1, 2, 3),
    empty: new Uint8Array(0),
    'two blocks and a bit': new Uint8Array(600_000).fill(9, 100_000, 110_000).fill(8, 599_000),
  },
  metadata: ['m'],
}
/**
 * In the first block one page has changed and one has become zero, in the second one byte has
 * changed, the third is gone, and so is one section.
 */
const changed: State = {
  sections: {
    new: new Uint8Array(300_000).fill(4, 290_000),
    'two blocks and a bit': new Uint8Array(500_000).fill(9, 100_000, 102_401).fill(7, 400_000, 400_001),
    tiny: Uint8Array.of(1, 2, 3),
  },
  metadata: ['n'],
  parent: fresh,
}
const chain = golden['chain-1.0']
const onChain: State = { ...golden['delta-none-1.0'], parent: chain }
const onDelta: State = { ...golden['delta-zstd-1.0'], metadata: '', parent: onChain }

/** Parses the files of a chain, starting with the full one. */
const parseChain = (files: Buffer[]): Image =>
  files.reduce<Image | undefined>((parent, file) => parseImage(file, parent), undefined) as Image
type Image = ReturnType<typeof parseImage>

describe.each<[string, () => Promise<Buffer[]> | Buffer[], State]>([
  ['the golden file', () => [goldenFile], golden['flat-1.0']],
  ['a fresh snapshot', async () => [await snapshotOf(fresh)], fresh],
  ['the packed golden file', () => [packedFile], golden['packed-1.0']],
  ['a fresh packed snapshot', async () => [await snapshotOf(fresh, 'zstd')], fresh],
  ['the golden delta', () => [goldenOf('chain-1.0'), deltaFile], onChain],
  [
    'the golden delta on a delta',
    () => [goldenOf('chain-1.0'), deltaFile, goldenOf('delta-zstd-1.0')],
    onDelta,
  ],
  ...(['none', 'zstd'] as const).map((compression): [string, () => Promise<Buffer[]>, State] => [
    `a fresh delta (${compression})`,
    async () => {
      const delta = await snapshotOf(changed, compression)
      return [readFileSync(inDirectory('parent of fresh')), delta]
    },
    changed,
  ]),
])('%s, read from the document alone', (_, make, { sections, metadata, parent }) => {
  it('holds sections, metadata and checksums where they should be', async () => {
    const files = await make()
    const file = files.at(-1) as Buffer
    const image = parseChain(files)
    expect(image.sections.map(({ name }) => name)).toEqual(Object.keys(sections))
    for (const { name, bytes } of image.sections) {
      expect(Buffer.compare(bytes as Buffer, sections[name] as Uint8Array), name).toBe(0)
    }
    expect(image.metadata === '' ? '' : JSON.parse(image.metadata)).toEqual(metadata)
    const checksums = checksumsOf(file, image)
    expect(checksums.length).toBeGreaterThan(7)
    for (const { name, bits, stored, bytes } of checksums) expect(hash(bytes, bits), name).toBe(stored)
    expect(image.trailer.values.sum_count).toBe(image.sums.length)
    expect(image.trailer.values.state).toBe(stateOf(image, (bytes: Uint8Array) => hash(bytes, 128)))
  })

  it('names the file that it builds on', async () => {
    const files = await make()
    const { header } = parseImage(files.at(-1) as Buffer)
    const below = files.at(-2) && parseImage(files.at(-2) as Buffer)
    expect(header.values.parent_id).toBe(below?.header.values.id ?? '0'.repeat(32))
    expect(header.values.parent_state).toBe(below?.trailer.values.state ?? 0n)
  })

  it('is aligned, without gaps that are not zero', async () => {
    const file = (await make()).at(-1) as Buffer
    const { header, entries, sections, trailer } = parseImage(file)
    const packed = header.values.layout === 1
    expect(trailer.values.file_length).toBe(file.length)
    expect(trailer.values.index_offset % 65536).toBe(0)
    const used = new Uint8Array(file.length)
    used.fill(1, 0, 4096)
    used.fill(1, trailer.values.index_offset, trailer.values.metadata_offset + trailer.values.metadata_length)
    used.fill(1, file.length - 4096)
    for (const { values } of sections) {
      expect(values.data_offset % 65536).toBe(0)
      if (packed) expect(values.data_offset).toBe(0)
      else used.fill(1, values.data_offset, values.data_offset + values.byte_length)
    }
    // Each byte of a packed file belongs to at most one block.
    for (const { values } of entries) {
      if (!packed || values.present === 0n) continue
      const end = values.file_offset + values.stored_length
      expect(used.subarray(values.file_offset, end).every((byte) => byte === 0)).toBe(true)
      used.fill(1, values.file_offset, end)
    }
    expect(file.some((byte, offset) => used[offset] === 0 && byte !== 0)).toBe(false)
  })

  it('tells of each page whether it is there, zero, or as in the parent', async () => {
    const image = parseImage((await make()).at(-1) as Buffer)
    const packed = image.header.values.layout === 1
    const found = image.entries.map(({ values }) => values)
    const expected = image.sections.flatMap(({ name, values: { data_offset } }, section) => {
      const memory = sections[name] as Uint8Array
      const before = parent?.sections[name]
      const blocks = Array.from({ length: Math.ceil(memory.length / 262_144) }, (_, block) => block)
      return blocks.flatMap((block) => {
        const { present, zero, pages } = pagesOf(block, memory, before)
        if (parent !== undefined && (present | zero) === 0n) return []
        if (packed) return [{ section, block, present, zero }]
        const here = present !== 0n
        const file_offset = here ? data_offset + block * 262_144 : 0
        return [{ section, block, present, zero, file_offset, stored_length: here ? pages * 4096 : 0 }]
      })
    })
    expect(found).toMatchObject(expected)
    expect(found).toHaveLength(expected.length)
  })
})

/** The expected page masks in the index entry of a block. */
function pagesOf(block: number, memory: Uint8Array, before: Uint8Array | undefined) {
  const pageAt = (bytes: Uint8Array, page: number): Buffer => {
    const start = block * 262_144 + page * 4096
    // Includes the zeros after the end.
    return Buffer.concat([bytes.subarray(start, start + 4096), Buffer.alloc(4096)]).subarray(0, 4096)
  }
  const countOf = (bytes: Uint8Array) =>
    Math.max(0, Math.ceil(Math.min(262_144, bytes.length - block * 262_144) / 4096))
  const pages = countOf(memory)
  let [present, zero] = [0n, 0n]
  for (let page = 0; page < pages; page++) {
    const bytes = pageAt(memory, page)
    const known = before !== undefined && page < countOf(before)
    if (known && pageAt(before, page).equals(bytes)) continue
    if (bytes.some((byte) => byte !== 0)) present |= 1n << BigInt(page)
    else zero |= 1n << BigInt(page)
  }
  return { present, zero, pages }
}

describe('docs/FORMAT.md', () => {
  it('shows the golden file as it is', () => {
    for (const line of dumpImage(goldenFile).split('\n')) expect(document).toContain(line)
  })

  it('shows an entry of the packed golden file as it is', () => {
    const [, entry = ''] = dumpImage(packedFile).split(/^(?=index entry)/m)
    for (const line of entry.trim().split('\n')) expect(document).toContain(line)
  })

  it('shows an entry of the golden delta and its sums as they are', () => {
    const parts = dumpImage(deltaFile).split(/^(?=index entry|sums of)/m)
    const shown = parts.filter((part: string) => /^(sums of )?index entry 3\n/.test(part))
    expect(shown).toHaveLength(2)
    for (const part of shown) expect(document).toContain(part.trim())
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
