/**
 * Promise: the reader without an addon refuses a file with impossible claims at the cost of its
 * real contents, not of its claims, and it accepts or refuses zstd frames as the native reader
 * does. Proved with hand-made files with valid checksums, by measuring the cost for the process,
 * and by comparing both readers.
 */

import { closeSync, ftruncateSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { snapshot } from 'stillframe'
import { inspect, openSnapshot, restore, verify } from 'stillframe/reader'
import { beforeEach, describe, expect, test } from 'vitest'
import { XXHash3, XXHash64 } from 'xxhash-addon'
import { costOf } from '../hostile/cost.js'
import { rejectionOf } from '../support/expect-error.js'
import { EditableImage, entry, header, sizes, trailer } from '../support/image-editor.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { expectSameVerdict } from './verdicts.js'

const inDirectory = useTemporaryDirectory()
let path = ''
const block = 262_144

/** More than the process itself needs meanwhile. */
const spareBytes = 48 * 2 ** 20

async function expectRefusedCheaply(readBytes: number, reason: RegExp): Promise<void> {
  await inspect(inDirectory('good'))
  const ways = [openSnapshot, inspect, restore]
  const { memory, read } = await costOf(async () => {
    for (const way of ways) {
      const error = await rejectionOf(way(path))
      expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path })
      expect(error.message).toMatch(reason)
    }
    expect(await verify(path)).toMatchObject({ ok: false })
  })
  expect(memory).toBeLessThan(spareBytes)
  expect(read).toBeLessThan(readBytes)
}

beforeEach(async () => {
  path = inDirectory('bomb')
  await snapshot(new Uint8Array(5000).fill(1), inDirectory('good')).done
  await snapshot(new Uint8Array(5000).fill(1), path).done
})

test('a hole of 2^43 bytes behind a good header', async () => {
  const file = openSync(path, 'r+')
  // The largest file size that is possible here.
  for (const exponent of [43, 40]) {
    try {
      ftruncateSync(file, 2 ** exponent)
      break
    } catch {}
  }
  closeSync(file)
  await expectRefusedCheaply(2 ** 18, /no trailer at the end/)
})

/**
 * Writes a file with one section of this length, whose pages and index are a hole, with valid
 * checksums.
 */
function writeHollow(byteLength: number): void {
  const good = new EditableImage(path)
  const blocks = byteLength / block
  const indexAt = 65_536 + byteLength
  const sectionsAt = indexAt + blocks * sizes.entry
  const record = Buffer.from(good.bytes.subarray(good.sectionsAt, good.metadataAt))
  record.writeBigUInt64LE(BigInt(byteLength), 0)
  record.writeBigUInt64LE(BigInt(blocks), 24)
  const metadataAt = sectionsAt + record.length
  const trailerAt = Math.ceil(metadataAt / 4096) * 4096
  const page = Buffer.from(good.bytes.subarray(good.trailerAt))
  const fields: [number, number | bigint][] = [
    [trailer.fileLength, trailerAt + 4096],
    [trailer.indexOffset, indexAt],
    [trailer.indexCount, blocks],
    [trailer.sumCount, 0],
    [trailer.sumsChecksum, XXHash3.hash(Buffer.alloc(0)).readBigUInt64BE()],
    [trailer.sectionsOffset, sectionsAt],
    [trailer.sectionsChecksum, XXHash3.hash(record).readBigUInt64BE()],
    [trailer.metadataOffset, metadataAt],
    [trailer.checksum, 0],
  ]
  for (const [field, value] of fields) page.writeBigUInt64LE(BigInt(value), field)
  page.writeBigUInt64LE(XXHash3.hash(page).readBigUInt64BE(), trailer.checksum)
  const file = openSync(path, 'w')
  writeSync(file, good.bytes, 0, 4096, 0)
  writeSync(file, record, 0, record.length, sectionsAt)
  writeSync(file, page, 0, 4096, trailerAt)
  closeSync(file)
}

test('an index that is a hole, of a section of a TiB', async () => {
  writeHollow(2 ** 40)
  // Each way of reading reads only one window of the index.
  await expectRefusedCheaply(2 ** 23, /is not one that a writer would make/)
})

test('a section of zeros is handed out only as far as is allowed', async () => {
  await snapshot({ zeros: new Uint8Array(2 ** 28) }, path, { compression: 'zstd' }).done
  expect(readFileSync(path).length).toBeLessThan(2 ** 18)
  const { memory } = await costOf(async () => {
    expect(await rejectionOf(restore(path, { maxBytes: 2 ** 28 - 1 }))).toMatchObject({
      code: 'ERR_OUT_OF_RANGE',
    })
    await using open = await openSnapshot(path)
    for await (const piece of open.chunks('zeros')) expect(piece.length).toBe(2 ** 22)
    expect(await verify(path)).toMatchObject({ ok: true })
  })
  // Each piece of 4 MiB is garbage once the next one arrives.
  expect(memory).toBeLessThan(2 ** 27)
})

describe('a frame of zstd', () => {
  interface Frame {
    told?: number
    runs?: number[]
    descriptor?: number
    /** Bytes between the descriptor and the length. */
    between?: number[]
    before?: number[]
    behind?: number[]
    checksum?: 'right' | 'wrong' | 'none'
    type?: number
  }

  /** Builds a frame of runs of sevens, with a four-byte length and a checksum. */
  function frameOf(wanted: Frame): Buffer {
    const { told = block, runs = [131_072, 131_072], descriptor = 0xa4, between = [] } = wanted
    const { before = [], behind = [], checksum = 'right', type = 1 } = wanted
    const length = Buffer.alloc(4)
    length.writeUInt32LE(told)
    const blocks = runs.map((run, i) => {
      const head = Buffer.alloc(4)
      head.writeUIntLE(run * 8 + type * 2 + (i === runs.length - 1 ? 1 : 0), 0, 3)
      head.writeUInt8(7, 3)
      return head
    })
    const content = Buffer.alloc(
      runs.reduce((sum, run) => sum + run, 0),
      7,
    )
    const sum = XXHash64.hash(content).subarray(4).reverse()
    if (checksum === 'wrong') sum.writeUInt8(sum.readUInt8(0) ^ 1, 0)
    const magic = Buffer.from('28b52ffd', 'hex')
    const head = [magic, Buffer.from([descriptor, ...between]), length]
    const end = [checksum === 'none' ? Buffer.alloc(0) : sum, Buffer.from(behind)]
    return Buffer.concat([Buffer.from(before), ...head, ...blocks, ...end])
  }

  const plain = frameOf({})
  const skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9]
  test.each<[string, boolean, Frame]>([
    ['as a writer would make it', true, {}],
    ['with a bit that decoders ignore', true, { descriptor: 0xb4 }],
    ['with a window', true, { descriptor: 0x84, between: [0x50] }],
    ['with a window that is too large', false, { descriptor: 0x84, between: [0xff] }],
    ['with a reserved bit', false, { descriptor: 0xac }],
    ['of a dictionary', false, { descriptor: 0xa5, between: [5] }],
    ['of dictionary 0', true, { descriptor: 0xa5, between: [0] }],
    ['without a checksum', false, { descriptor: 0xa0, checksum: 'none' }],
    ['with another checksum', false, { checksum: 'wrong' }],
    ['that tells a greater length', false, { told: block + 1 }],
    ['that tells 4 GiB', false, { told: 0xffffffff }],
    ['that tells a smaller length', false, { told: block - 1 }],
    ['that holds more than it tells', false, { runs: [131_072, 131_072, 131_072] }],
    ['that holds less than it tells', false, { runs: [131_072, 131_071] }],
    ['of a run that is longer than a block may be', true, { runs: [262_144] }],
    ['of a kind of block that is none', false, { type: 3 }],
    ['with a byte behind it', false, { behind: [1] }],
    ['with a frame behind it that nobody reads', false, { behind: skippable }],
    ['with a frame before it that nobody reads', false, { before: skippable }],
    ['twice', false, { behind: [...plain] }],
    ['of blocks that go on behind the end', false, { runs: [131_072, 131_072], type: 0 }],
  ])('%s', async (_, isTaken, wanted) => {
    await snapshot({ main: new Uint8Array(block).fill(7) }, path, { compression: 'zstd' }).done
    const image = new EditableImage(path)
    const at = Number(image.entryField(0, entry.fileOffset))
    const frame = frameOf(wanted)
    image.bytes.fill(0, at, at + 4096)
    frame.copy(image.bytes, at)
    image.bytes.writeUInt32LE(frame.length, image.indexAt + entry.storedLength)
    image.sealEntry(0)
    image.save(path)
    const { verified } = await expectSameVerdict(path, frame.toString('hex'))
    expect((verified as { ok: boolean }).ok).toBe(isTaken)
    const restored = restore(path, { verify: false })
    if (isTaken) expect((await restored).buffers.main?.byteLength).toBe(block)
    else
      expect(await rejectionOf(restored)).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', section: 'main' })
  })
})

test('files that build on each other', async () => {
  const names = ['a', 'b'] as const
  await snapshot({ main: new Uint8Array(5000).fill(2) }, inDirectory('a'), { parent: path }).done
  await snapshot({ main: new Uint8Array(5000).fill(3) }, inDirectory('b'), { parent: inDirectory('a') }).done
  for (const [i, name] of names.entries()) {
    const image = new EditableImage(inDirectory(name))
    const other = new EditableImage(inDirectory(names[1 - i] as string))
    other.bytes.copy(image.bytes, header.parentId, header.id, header.id + 16)
    const stateAt = other.trailerAt + trailer.state
    other.bytes.copy(image.bytes, header.parentState, stateAt, stateAt + 16)
    image.save(inDirectory(`${name}2`))
  }
  for (const name of names) writeFileSync(inDirectory(name), readFileSync(inDirectory(`${name}2`)))
  const error = await rejectionOf(openSnapshot(inDirectory('a')))
  expect(error).toMatchObject({ code: 'ERR_STILLFRAME_PARENT' })
  expect(error.message).toContain('more than 1000 files')
})
