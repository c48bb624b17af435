// Promise I6, for chains: a delta is read with exactly the files from which it was made, or not at
// all, whatever is in their places. Proved by removing, renaming, swapping and forging the files of
// a chain, and with deltas whose claims no writer would make, with valid checksums.

import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { type RestoreOptions, restore, snapshot, verify } from 'stillframe'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { EditableImage, entry, header, section, sizes, trailer } from '../support/image-editor.js'
import { sharedTemporaryDirectory, useTemporaryDirectory } from '../support/temporary-directory.js'
import { middle, type Name, names, newest, writeChain } from './chain.js'
import { costOf } from './cost.js'
import { refusalOf } from './sample.js'

const inDirectory = useTemporaryDirectory()
const shared = sharedTemporaryDirectory()
let files: Record<Name, Buffer>
let path = ''

beforeAll(async () => {
  files = await writeChain(shared)
})
beforeEach(() => {
  for (const name of names) writeFileSync(inDirectory(name), files[name])
  path = inDirectory('newest')
})

/** Restores a file in every way and compares the result with the expected sections. */
async function expectRead(
  options: Pick<RestoreOptions, 'parents'> = {},
  file = path,
  sections: Record<string, Uint8Array> = newest,
): Promise<void> {
  expect(await verify(file, options)).toMatchObject({ ok: true, problems: [] })
  const into = Object.fromEntries(
    Object.entries(sections).map(([name, bytes]) => [name, new Uint8Array(bytes.length)]),
  )
  await restore(file, { into, ...options })
  expect(into).toEqual(sections)
  for (const mode of ['map', 'copy'] as const) {
    using restored = await restore(file, { mode, ...options })
    for (const [name, bytes] of Object.entries(sections)) {
      expect(new Uint8Array(restored.regions[name]?.buffer as ArrayBuffer), name).toEqual(bytes)
    }
  }
}

/** Reads the file in every way. Each must refuse it for the same reason. */
async function expectRefused(
  code: 'PARENT' | 'CORRUPT',
  message: RegExp,
  sections: Record<string, Uint8Array> = newest,
): Promise<void> {
  const { errors, report, touched } = await refusalOf(path, code === 'PARENT', sections)
  for (const error of errors) {
    expect(error).toMatchObject({ code: `ERR_STILLFRAME_${code}`, path })
    expect(error.message).toMatch(message)
  }
  expect(touched).toBe(false)
  // A missing parent is not damage that a report could contain.
  if (code === 'PARENT') expect(report).toMatchObject({ code: 'ERR_STILLFRAME_PARENT' })
  else expect(report).toMatchObject({ ok: false, problems: [{ reason: expect.stringMatching(message) }] })
}

const uuidOf = (file: Buffer): string =>
  file.toString('hex', 16, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')

describe('the files of a chain', () => {
  it('are read whatever they are called', async () => {
    renameSync(inDirectory('full'), inDirectory('x'))
    renameSync(inDirectory('middle'), inDirectory('full'))
    renameSync(inDirectory('x'), inDirectory('middle'))
    await expectRead()
  })

  it('are looked for in files and directories that the caller names', async () => {
    mkdirSync(inDirectory('a'))
    mkdirSync(inDirectory('b'))
    renameSync(inDirectory('middle'), inDirectory('a/middle'))
    renameSync(inDirectory('full'), inDirectory('b/full'))
    await expectRefused('PARENT', new RegExp(uuidOf(files.middle)))
    await expectRead({ parents: [inDirectory('a'), inDirectory('b/full')] })
    await expectRead({ parents: [`${inDirectory('b')}/`, inDirectory('a/')] })
    symlinkSync(inDirectory('a/middle'), inDirectory('middle'))
    symlinkSync(inDirectory('b/full'), inDirectory('full'))
    await expectRead()
  })

  it('are found among files that are none', async () => {
    writeFileSync(inDirectory('empty'), '')
    writeFileSync(inDirectory('text'), 'Dear Sir or Madam,\n')
    writeFileSync(inDirectory('short'), files.middle.subarray(0, 60))
    symlinkSync(inDirectory('nowhere'), inDirectory('broken'))
    mkdirSync(inDirectory('directory'))
    await expectRead()
  })

  it.each(['middle', 'full'] as const)('are refused without %s', async (name) => {
    rmSync(inDirectory(name))
    await expectRefused('PARENT', new RegExp(`${uuidOf(files[name])}.* is not in .*parents`))
  })

  it.each(['middle', 'full'] as const)('are refused with %s cut off', async (name) => {
    writeFileSync(inDirectory(name), files[name].subarray(0, -4096))
    await expectRefused('PARENT', new RegExp(`${inDirectory(name)} has its id, but `))
  })

  it('are refused when one is put in the place of another', async () => {
    writeFileSync(inDirectory('middle'), files.full)
    await expectRefused('PARENT', new RegExp(uuidOf(files.middle)))
  })
})

/** Writes another valid snapshot of the same sections, with the id of a file of the chain. */
async function forge(name: Name, target: string): Promise<void> {
  const other = { ...middle, kept: new Uint8Array(middle.kept.length).fill(66) }
  await snapshot(other, target).done
  const image = new EditableImage(target)
  files[name].copy(image.bytes, header.id, header.id, header.id + 16)
  files[name].copy(image.bytes, image.trailerAt + trailer.id, header.id, header.id + 16)
  image.save(target)
  expect(await verify(target)).toMatchObject({ ok: true, info: { id: uuidOf(files[name]) } })
}

describe.each(['middle', 'full'] as const)('another snapshot with the id of %s', (name) => {
  it('is not taken for it', async () => {
    await forge(name, inDirectory(name))
    await expectRefused(
      'PARENT',
      new RegExp(`${inDirectory(name)} has its id, but not the memory that it had`),
    )
  })

  it('does not hide it', async () => {
    // Names that sort before and after it, whatever the order of the directory.
    for (const other of ['a', 'z']) await forge(name, inDirectory(other))
    await expectRead()
  })
})

it('files that build on each other are refused', async () => {
  // The trailer does not depend on the header, so each file can name the other.
  for (const [name, other] of [
    ['newest', 'middle'],
    ['middle', 'newest'],
  ] as const) {
    const image = new EditableImage(inDirectory(name))
    const from = new EditableImage(inDirectory(other))
    from.bytes.copy(image.bytes, header.parentId, header.id, header.id + 16)
    const stateAt = from.trailerAt + trailer.state
    from.bytes.copy(image.bytes, header.parentState, stateAt, stateAt + 16)
    image.save(inDirectory(name))
  }
  const { memory } = await costOf(() => expectRefused('PARENT', /more than 1000 files/))
  expect(memory).toBeLessThan(64 * 2 ** 20)
})

/**
 * Entry 0 of the middle file belongs to 'pages': it has pages 1 and 3, and page 2 is zero. Entries
 * 1 and 2 are the blocks of 'grown', and entry 3 belongs to 'cleared', which has become zero. Entry
 * 1 of the newest file belongs to 'pages', and has page 1.
 */
const says = {
  parent: /names a parent that it cannot have/,
  entry: /is not one that a writer would make/,
  place: /the section is at an impossible offset/,
  orphan: /index entries without a section/,
  tail: /the trailer does not describe this file/,
  counts: /counts beyond all limits/,
  sums: /more or fewer sums than pages/,
  nowhere: /pages that are neither in this file nor in its parent/,
}
const rules: [string, Name, RegExp, (image: EditableImage) => void][] = [
  [
    'a delta that builds on itself',
    'newest',
    says.parent,
    ({ bytes }) => bytes.copy(bytes, header.parentId, header.id, header.id + 16),
  ],
  ['a delta that is flat', 'newest', says.parent, ({ bytes }) => bytes.writeUInt32LE(0, header.layout)],
  ['a state of no parent', 'full', says.parent, ({ bytes }) => bytes.writeUInt32LE(1, header.parentState)],
  ['an entry that tells nothing', 'middle', says.entry, (image) => image.setEntry(3, entry.zero, 0n)],
  [
    'a page both here and zero',
    'middle',
    says.entry,
    (image) => tell(image, 0, pagesOf(image, 0), pagesOf(image, 0)),
  ],
  [
    'a zero page beyond the end of a block',
    'middle',
    says.entry,
    (image) => tell(image, 0, pagesOf(image, 0), 1n << 20n),
  ],
  [
    'a page of which a full file does not tell',
    'full',
    says.entry,
    (image) => image.setEntry(1, entry.zero, 0n),
  ],
  [
    'a block twice',
    'middle',
    says.entry,
    ({ bytes, indexAt }) => bytes.writeUInt32LE(0, indexAt + 2 * sizes.entry + entry.block),
  ],
  [
    'a block beyond the end',
    'middle',
    says.entry,
    ({ bytes, indexAt }) => bytes.writeUInt32LE(2, indexAt + 2 * sizes.entry + entry.block),
  ],
  [
    'a block of another section',
    'middle',
    says.entry,
    ({ bytes, indexAt }) => bytes.writeUInt32LE(2, indexAt + entry.section),
  ],
  ['more entries than blocks', 'middle', says.place, (image) => image.setSection(0, section.entryCount, 2n)],
  [
    '2^64 entries of a section',
    'middle',
    says.place,
    (image) => image.setSection(2, section.entryCount, 2n ** 64n - 1n),
  ],
  ['an entry of no section', 'middle', says.orphan, (image) => image.setSection(3, section.entryCount, 0n)],
  [
    'entries that another section has',
    'middle',
    says.place,
    (image) => image.setSection(2, section.firstEntry, 0n),
  ],
  ['a sum too few', 'middle', says.tail, (image) => image.setTrailer(trailer.sumCount, sumsOf(image) - 1n)],
  [
    'more pages than sums',
    'newest',
    says.sums,
    (image) => image.setEntry(1, entry.present, pagesOf(image, 1) | (1n << 5n)),
  ],
  ['2^64 sums', 'middle', says.counts, (image) => image.setTrailer(trailer.sumCount, 2n ** 64n - 1n)],
  [
    'a count of sums that wraps around',
    'middle',
    says.counts,
    (image) => image.setTrailer(trailer.sumCount, 2n ** 60n + sumsOf(image)),
  ],
  [
    'blocks that are in no file',
    'middle',
    says.nowhere,
    (image) => image.setSection(1, section.byteLength, 300_000n),
  ],
  [
    'a section as large as an address space',
    'middle',
    says.nowhere,
    (image) => image.setSection(1, section.byteLength, 2n ** 47n),
  ],
]

const pagesOf = (image: EditableImage, index: number): bigint => image.entryField(index, entry.present)
const sumsOf = (image: EditableImage): bigint => BigInt((image.sectionsAt - image.sumsAt) / sizes.sum)
function tell(image: EditableImage, index: number, present: bigint, zero: bigint): void {
  image.setEntry(index, entry.present, present)
  image.setEntry(index, entry.zero, zero)
}

describe.each(rules)('%s', (_, name, message, break_) => {
  it('is refused before a page is read', async () => {
    path = inDirectory(name)
    const image = new EditableImage(path)
    break_(image)
    image.save(path)
    const { errors, report, touched } = await refusalOf(path, true, name === 'newest' ? newest : middle)
    for (const error of errors) {
      expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path, offset: expect.any(Number) })
      expect(error.message).toMatch(message)
    }
    expect(report).toMatchObject({ ok: false, problems: [{ offset: expect.any(Number) }] })
    expect(touched).toBe(false)
  })
})

/**
 * Valid deltas with valid checksums, which restore to memory that differs from the frozen memory.
 */
const lies: [string, (image: EditableImage) => void][] = [
  ['a page that became zero, left as it was in the parent', (image) => image.setEntry(0, entry.zero, 0n)],
  [
    'a page that did not change, told to be zero',
    (image) => image.setEntry(0, entry.zero, image.entryField(0, entry.zero) | (1n << 9n)),
  ],
  [
    'another page than was frozen, with its checksum and its sum',
    (image) => {
      // Two pages are swapped, and so are their sums.
      const at = Number(image.entryField(0, entry.fileOffset))
      const { bytes, sumsAt } = image
      swap(bytes, at, at + 4096, 4096)
      swap(bytes, sumsAt, sumsAt + sizes.sum, sizes.sum)
      image.sealEntry(0)
    },
  ],
  ['another state', (image) => image.setTrailer(trailer.state + 8, 1n)],
]

function swap(bytes: Buffer, a: number, b: number, length: number): void {
  const kept = Buffer.from(bytes.subarray(a, a + length))
  bytes.copy(bytes, a, b, b + length)
  kept.copy(bytes, b)
}

describe.each(lies)('%s', (_, lie) => {
  it('does not add up to the memory that was frozen', async () => {
    path = inDirectory('middle')
    const image = new EditableImage(path)
    lie(image)
    image.save(path)
    await expectRefused('CORRUPT', /do not add up to the memory that was frozen/, middle)
  })
})

it('sums that are not those of the pages are reported', async () => {
  path = inDirectory('middle')
  const image = new EditableImage(path)
  swap(image.bytes, image.sumsAt, image.sumsAt + sizes.sum, sizes.sum)
  image.save(path)
  expect(await verify(path)).toMatchObject({
    ok: false,
    problems: [
      { offset: image.sumsAt, reason: expect.stringContaining('pages that do not match their sums') },
    ],
  })
})

it('a page that is neither in a delta nor in its parent is not handed out', async () => {
  path = inDirectory('middle')
  const image = new EditableImage(path)
  // The section becomes one page longer, within the same block.
  image.setSection(1, section.byteLength, 82_000n)
  image.save(path)
  for (const mode of ['map', 'copy'] as const) {
    for (const verify of [true, false]) {
      const error = await rejectionOf(restore(path, { mode, verify }))
      expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path, section: 'pages' })
      expect(error.message).toContain('pages that are neither in this file nor in its parent')
    }
  }
  expect((await verify(path)).ok).toBe(false)
})

it('several may read a chain at once', async () => {
  await Promise.all([expectRead(), expectRead({}, inDirectory('middle'), middle), expectRead()])
  for (const name of names) expect(readFileSync(inDirectory(name)).equals(files[name])).toBe(true)
})
