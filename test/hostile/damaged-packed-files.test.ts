// Promise I6, for packed files: a damaged byte is found before any memory is handed out, and the
// error names the section and the offset. Proved by every way of reading on each part of a small
// packed file, and with files whose checksums were all repaired after the damage. (Every byte,
// every rule: native/test/packed_image_test.cc.)

import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { inspect, type RestoreOptions, restore, snapshot, verify } from 'stillframe'
import { beforeEach, describe, expect, it } from 'vitest'
import { flipByte } from '../support/damage.js'
import { rejectionOf } from '../support/expect-error.js'
import { EditableImage, entry, section, sizes, trailer } from '../support/image-editor.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const huge = 2n ** 64n - 1n

/** One compressible block with a zero page; then a block of zeros followed by a page. */
const contents = {
  text: new Uint8Array(262_144).map((_, i) => (i >>> 12 === 5 ? 0 : 'packed '.charCodeAt(i % 7))),
  'zero then some': new Uint8Array(262_144 + 300).fill(5, 262_144),
}

let path = ''
let image: EditableImage
beforeEach(async () => {
  path = inDirectory('packed')
  await snapshot(contents, path, { compression: 'zstd', metadata: { epoch: 7 } }).done
  image = new EditableImage(path)
})

const placeOf = (index: number): { start: number; length: number } => ({
  start: Number(image.entryField(index, entry.fileOffset)),
  length: image.bytes.readUInt32LE(image.indexAt + index * sizes.entry + entry.storedLength),
})

/** The errors of each way of reading, and whether the memory to be filled has changed. */
async function refusals(options: RestoreOptions = {}) {
  const into = Object.fromEntries(
    Object.entries(contents).map(([name, bytes]) => [name, new Uint8Array(bytes.length).fill(0xaa)]),
  )
  const ways: RestoreOptions[] = [{}, { mode: 'copy' }, { into }]
  const errors = []
  for (const way of ways) errors.push(await rejectionOf(restore(path, { ...way, ...options })))
  return { errors, touched: Object.values(into).some((bytes) => bytes.some((byte) => byte !== 0xaa)) }
}

describe.each<[string, () => number, number, string | undefined]>([
  ['the first byte of a frame', () => placeOf(0).start, 0, 'text'],
  ['the middle of a frame', () => placeOf(0).start + placeOf(0).length / 2, 0, 'text'],
  ["a frame's own checksum", () => placeOf(0).start + placeOf(0).length - 1, 0, 'text'],
  ['a frame of one page', () => placeOf(2).start + 5, 2, 'zero then some'],
  ['the padding behind a piece', () => placeOf(0).start + placeOf(0).length + 1, -1, undefined],
  ['the gap before the index', () => image.indexAt - 1, -1, undefined],
])('a damaged byte in %s', (_, at, index, name) => {
  it('keeps every byte of the file from being handed out', async () => {
    const byte = Math.floor(at())
    flipByte(path, byte)
    const place = {
      offset: index < 0 ? byte : placeOf(index).start,
      ...(name !== undefined && { section: name }),
    }
    const { errors, touched } = await refusals()
    expect(touched).toBe(false)
    for (const error of errors)
      expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path, ...place })
    expect(await verify(path)).toMatchObject({ ok: false, problems: [place] })
    // inspect() does not read the damaged part.
    expect(await inspect(path)).toMatchObject({ layout: 'packed', metadata: { epoch: 7 } })
    flipByte(path, byte)
    expect(await verify(path)).toMatchObject({ ok: true, problems: [] })
  })
})

it('verify() reports damage to several blocks in the order of the sections', async () => {
  for (const index of [2, 0]) flipByte(path, placeOf(index).start + 5)
  const { problems } = await verify(path)
  expect(problems.map((problem) => [problem.offset, problem.section])).toEqual([
    [placeOf(0).start, 'text'],
    [placeOf(2).start, 'zero then some'],
  ])
})

it('verify: false does not hand out the content of a damaged frame', async () => {
  // The last bytes are the frame's own checksum. Nothing else could reveal the damage.
  for (const back of [1, 4]) {
    const byte = placeOf(0).start + placeOf(0).length - back
    flipByte(path, byte)
    const { errors } = await refusals({ verify: false })
    for (const error of errors) {
      expect(error).toMatchObject({
        code: 'ERR_STILLFRAME_CORRUPT',
        section: 'text',
        offset: placeOf(0).start,
      })
    }
    flipByte(path, byte)
  }
})

it('a file that was cut off is refused, wherever it was cut', async () => {
  const good = readFileSync(path)
  for (const length of [0, 7, 4096, 65_536, image.indexAt, image.trailerAt, good.length - 1]) {
    truncateSync(path, length)
    const { errors, touched } = await refusals()
    expect(touched).toBe(false)
    const code = length < 8 ? 'ERR_STILLFRAME_FORMAT' : 'ERR_STILLFRAME_CORRUPT'
    for (const error of errors) expect(error, `${length} bytes`).toMatchObject({ code, path })
    writeFileSync(path, good)
  }
})

const bombs: [string, (image: EditableImage) => void][] = [
  ['a section of 2^64 bytes', (image) => image.setSection(0, section.byteLength, huge)],
  ['a section that has a place', (image) => image.setSection(0, section.dataOffset, 65_536n)],
  ['2^64 index entries', (image) => image.setTrailer(trailer.indexCount, huge)],
  ['a block before the file', (image) => image.setEntry(0, entry.fileOffset, 2n ** 64n - 4096n)],
  [
    'a block in the place of another',
    (image) => image.setEntry(2, entry.fileOffset, BigInt(placeOf(0).start)),
  ],
  ['a block in the header', (image) => image.setEntry(0, entry.fileOffset, 0n)],
  ['a frame of 4 GiB', ({ bytes, indexAt }) => bytes.writeUInt32LE(0xffffffff, indexAt + entry.storedLength)],
  ['a frame of no bytes', ({ bytes, indexAt }) => bytes.writeUInt32LE(0, indexAt + entry.storedLength)],
  ['an unknown codec', ({ bytes, indexAt }) => bytes.writeUInt16LE(2, indexAt + entry.codec)],
  ['a frame that is called pages', ({ bytes, indexAt }) => bytes.writeUInt16LE(0, indexAt + entry.codec)],
  ['pages beyond the end of a block', (image) => image.setEntry(2, entry.present, 3n)],
  [
    'a frame that says it holds 2^60 bytes',
    (image) => {
      const { start, length } = placeOf(0)
      // One segment, an eight-byte length, then a one-byte run of maximum length, and space for a
      // checksum.
      const frame = Buffer.from('28b52ffde40000000000000010030010' + '07' + '00000000', 'hex')
      image.bytes.fill(0, start, start + length)
      frame.copy(image.bytes, start)
      image.bytes.writeUInt32LE(frame.length, image.indexAt + entry.storedLength)
      image.sealEntry(0)
    },
  ],
]

it.each(bombs)('%s is refused, with all checksums in order', async (_, arm) => {
  arm(image)
  image.save(path)
  const before = process.memoryUsage.rss()
  const { errors, touched } = await refusals()
  expect(process.memoryUsage.rss() - before).toBeLessThan(64 * 2 ** 20)
  expect(touched).toBe(false)
  for (const error of errors) {
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path, offset: expect.any(Number) })
  }
  expect(await verify(path)).toMatchObject({ ok: false, problems: [{ offset: expect.any(Number) }] })
})
