// Promise I6: a file with impossible claims is refused, before any data is read and without
// allocating memory for its claims. Proved with hand-made files, one per rule, with valid
// checksums. (Every rule of the format, under a limit of the address space:
// native/test/image_rules_test.cc.)

import { closeSync, ftruncateSync, openSync } from 'node:fs'
import { inspect, restore, StillframeError, verify } from 'stillframe'
import { beforeEach, describe, expect, it } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { EditableImage, entry, section, trailer } from '../support/image-editor.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { costOf } from './cost.js'
import { type Refusal, refusalOf, writeSample } from './sample.js'

const inDirectory = useTemporaryDirectory()
let path = ''
beforeEach(async () => {
  path = inDirectory('bomb')
  await writeSample(path)
})

const huge = 2n ** 64n - 1n
/**
 * More than the process itself needs meanwhile, and less than the smallest claim that could be
 * satisfied.
 */
const spareBytes = 32 * 2 ** 20
/** Each way to open a file reads its few pages a few times. */
const readBytes = 2 ** 18

const bombs: [string, (image: EditableImage) => void][] = [
  ['a section of 2^64 bytes', (image) => image.setSection(0, section.byteLength, huge)],
  ['a section as large as an address space', (image) => image.setSection(0, section.byteLength, 2n ** 47n)],
  [
    'a section that begins before the file',
    (image) => image.setSection(1, section.dataOffset, 2n ** 64n - 65536n),
  ],
  ['sections that overlap', (image) => image.setSection(1, section.dataOffset, 65536n)],
  ['2^64 sections', (image) => image.setTrailer(trailer.sectionCount, huge)],
  ['as many sections as there may be', (image) => image.setTrailer(trailer.sectionCount, 65535n)],
  ['2^64 index entries', (image) => image.setTrailer(trailer.indexCount, huge)],
  [
    'a count of index entries that wraps around',
    (image) => image.setTrailer(trailer.indexCount, 2n ** 61n + 4n),
  ],
  ['an index at the end of all files', (image) => image.setTrailer(trailer.indexOffset, 2n ** 64n - 65536n)],
  ['names of 2^64 bytes', (image) => image.setTrailer(trailer.namesLength, huge)],
  ['metadata of 2^64 bytes', (image) => image.setTrailer(trailer.metadataLength, huge)],
  ['metadata of 64 MiB', (image) => image.setTrailer(trailer.metadataLength, 64n << 20n)],
  [
    'a name of 4 GiB',
    (image) => image.bytes.writeUInt32LE(0xffffffff, image.sectionsAt + section.nameLength),
  ],
  ['a name that is none', (image) => image.bytes.fill(0xff, image.namesAt, image.namesAt + 5)],
  [
    'two sections of one name',
    ({ bytes, sectionsAt, namesAt }) => {
      bytes.write('samezero then some.same', namesAt)
      bytes.writeUInt32LE(4, sectionsAt + section.nameLength)
      bytes.writeUInt32LE(4, sectionsAt + 64 + section.nameOffset)
      bytes.writeUInt32LE(15, sectionsAt + 64 + section.nameLength)
    },
  ],
  ['a file length of 2^64', (image) => image.setTrailer(trailer.fileLength, huge)],
  ['a block before the file', (image) => image.setEntry(0, entry.fileOffset, huge)],
  ['a block in the place of another', (image) => image.setEntry(0, entry.fileOffset, 131_072n)],
  ['a block of 4 GiB', (image) => image.bytes.writeUInt32LE(0xffffffff, image.indexAt + entry.storedLength)],
  ['pages beyond the end of a block', (image) => image.setEntry(0, entry.present, huge)],
  ['a page both there and zero', (image) => image.setEntry(0, entry.zero, 1n)],
  ['zero pages beyond the end of a block', (image) => image.setEntry(0, entry.zero, huge << 2n)],
  ['a page of which nothing is said', (image) => image.setEntry(1, entry.zero, huge - 1n)],
  ['2^64 sums', (image) => image.setTrailer(trailer.sumCount, huge)],
  ['a count of sums that wraps around', (image) => image.setTrailer(trailer.sumCount, 2n ** 60n + 4n)],
  ['a block of another section', (image) => image.bytes.writeUInt32LE(1, image.indexAt + entry.section)],
  ['a compressed block', (image) => image.bytes.writeUInt16LE(1, image.indexAt + entry.codec)],
]

/** Opens the file in every way, and checks the cost of refusing it. */
async function refusedCheaply(): Promise<Refusal> {
  let refusal: Refusal | undefined
  const { memory, read } = await costOf(async () => {
    refusal = await refusalOf(path)
  })
  expect(memory).toBeLessThan(spareBytes)
  expect(read).toBeLessThan(readBytes)
  return refusal as Refusal
}

describe.each(bombs)('%s', (_, arm) => {
  it('is refused, and takes no memory', async () => {
    const image = new EditableImage(path)
    arm(image)
    image.save(path)
    const { errors, report, touched } = await refusedCheaply()
    for (const error of errors) {
      expect(error).toBeInstanceOf(StillframeError)
      expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path, offset: expect.any(Number) })
    }
    expect(report).toMatchObject({ ok: false, problems: [{ offset: expect.any(Number) }] })
    expect(touched).toBe(false)
  })
})

it('a hole of 2^43 bytes behind a good header is refused, and not read', async () => {
  const file = openSync(path, 'r+')
  // The largest file size that is possible here.
  for (const exponent of [43, 40]) {
    try {
      ftruncateSync(file, 2 ** exponent)
      break
    } catch {}
  }
  closeSync(file)
  const { errors } = await refusedCheaply()
  for (const error of errors) expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
})

describe('metadata that is no JSON', () => {
  it('is damage, and leaves no region behind', async () => {
    const image = new EditableImage(path)
    image.bytes.write('{"epoch":+}', image.metadataAt)
    image.save(path)
    const attempts = [() => restore(path), () => restore(path, { mode: 'copy' }), () => inspect(path)]
    for (const attempt of attempts) {
      expect(await rejectionOf(attempt())).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path })
    }
    expect(await verify(path)).toMatchObject({
      ok: false,
      problems: [{ reason: expect.stringContaining('JSON') }],
    })
  })
})
