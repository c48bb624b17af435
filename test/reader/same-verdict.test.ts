/**
 * Promise: the reader without an addon makes every check of the native one, and gives the same
 * verdict on a damaged file. Proved by damaging small files of each kind, byte by byte and field by
 * field with valid checksums, and by truncating them. Both readers must return identical offsets
 * and messages.
 */

import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { snapshot } from 'stillframe'
import { beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { parseImage, structs } from '../../scripts/dump-image.mjs'
import { EditableImage, header, section, sizes, trailer } from '../support/image-editor.js'
import { Random, testSeed } from '../support/random.mjs'
import { sharedTemporaryDirectory, useTemporaryDirectory } from '../support/temporary-directory.js'
import { expectSameVerdict, type Verdict } from './verdicts.js'

const shared = sharedTemporaryDirectory()
const inDirectory = useTemporaryDirectory()
const random = new Random(testSeed)

/** Pages that differ from one another, and zeros. */
function paged(length: number, mark: number, ...zeroPages: number[]): Uint8Array {
  const bytes = new Uint8Array(length).map((_, i) => 1 + (((i >>> 12) * 3 + mark) % 255))
  for (const page of zeroPages) bytes.fill(0, page * 4096, (page + 1) * 4096)
  return bytes
}
const noise = new Uint8Array(9000)
random.fill(noise)
const before = {
  text: paged(262_144 + 300, 5, 2),
  zeros: new Uint8Array(5000),
  noise,
  empty: new Uint8Array(0),
  gone: paged(5000, 6),
}
const after = {
  new: paged(70, 8),
  text: paged(262_144 + 5000, 5, 2)
    .fill(9, 8192, 8200)
    .fill(0, 4096, 8192),
  zeros: new Uint8Array(5000).fill(1, 4999),
  noise,
}

const names = ['flat', 'packed', 'delta'] as const
type Name = (typeof names)[number]
let files: Record<Name, Buffer>

beforeAll(async () => {
  const at = (name: Name): string => join(shared, name)
  await snapshot(before, at('flat'), { metadata: { epoch: [7, 'é'] } }).done
  await snapshot(before, at('packed'), { metadata: 'packed', compression: 'zstd' }).done
  await snapshot(after, at('delta'), { parent: at('packed'), compression: 'zstd' }).done
  const [flat, packed, delta] = names.map((name) => readFileSync(at(name)))
  files = { flat, packed, delta } as typeof files
})
let path = ''
beforeEach(() => {
  for (const name of names) writeFileSync(inDirectory(name), files[name])
})

/** True unless verify() found the file valid. */
const isRefused = ({ verified }: Verdict): boolean => (verified as { ok?: boolean }).ok !== true

/**
 * Chooses one in ten, different ones in each run. With STILLFRAME_TEST_RUNS=10 it chooses nearly
 * all, which takes minutes.
 */
function some<Value>(values: readonly Value[]): Value[] {
  const runs = Number(process.env['STILLFRAME_TEST_RUNS'] ?? 1)
  return values.filter(() => random.below(10) < runs)
}

/** Each byte outside the pages, the bytes around each page border, and some of all others. */
function bytesToFlip(file: Buffer): number[] {
  const { trailer: at } = parseImage(file)
  const places = new Set<number>()
  const add = (from: number, to: number, step = 1): void => {
    for (let byte = from; byte < to; byte += step) places.add(byte)
  }
  add(0, sizes.header)
  add(at.values.index_offset, at.values.metadata_offset + at.values.metadata_length + 1)
  add(at.start, at.start + sizes.trailer)
  for (let page = 4096; page < file.length; page += 4096) add(page - 1, page + 1)
  add(random.below(499), file.length, 499)
  return some([...places].filter((byte) => byte < file.length))
}

test.each(names)('%s: as it was written', async (name) => {
  expect(isRefused(await expectSameVerdict(inDirectory(name), name))).toBe(false)
})

// A delta is also tested with damage to the full file, which is its parent.
test.each([
  ['flat', 'flat'],
  ['packed', 'packed'],
  ['delta', 'delta'],
  ['delta', 'packed'],
] as const)('%s: with a damaged byte in %s', async (name, damaged) => {
  path = inDirectory(name)
  const file = Buffer.from(files[damaged])
  for (const byte of bytesToFlip(file)) {
    const kept = file.readUInt8(byte)
    file.writeUInt8(kept ^ (1 << random.below(8)), byte)
    writeFileSync(inDirectory(damaged), file)
    const verdict = await expectSameVerdict(path, `byte ${byte} of ${damaged}, seed ${testSeed}`)
    // A parent is recognized as a snapshot by its first bytes, and as this parent by its id.
    expect(isRefused(verdict), `byte ${byte} of ${damaged}`).toBe(true)
    file.writeUInt8(kept, byte)
  }
})

test.each(names)('%s: cut off at any length', async (name) => {
  path = inDirectory(name)
  const { length } = files[name]
  const lengths = [0, 1, 7, 8, 95, 96, 4095]
  for (let page = 4096; page < length; page += 4096)
    lengths.push(...some([page, page + 1 + random.below(4095)]))
  for (const cut of [...lengths, length - 1, length - 151, length - 4095]) {
    writeFileSync(path, files[name])
    truncateSync(path, cut)
    expect(isRefused(await expectSameVerdict(path, `${cut} bytes`)), `${cut} bytes`).toBe(true)
  }
})

test.each(names)('%s: longer than it was', async (name) => {
  path = inDirectory(name)
  for (const more of [1, 4096, 65_536]) {
    writeFileSync(path, Buffer.concat([files[name], Buffer.alloc(more)]))
    expect(isRefused(await expectSameVerdict(path, `${more} bytes more`))).toBe(true)
  }
})

/** New values for a field: neighbors of its value, borders of types and limits, and random ones. */
function valuesFor(value: bigint, bits: number): bigint[] {
  const near = [0n, 1n, value + 1n, value - 1n, value * 2n, value ^ (1n << BigInt(random.below(bits)))]
  const borders = [4096n, 65_536n, 262_144n, 2n ** 16n - 1n, 2n ** 31n, 2n ** 32n - 1n]
  const large = [
    2n ** 47n,
    2n ** 47n + 1n,
    2n ** 53n,
    2n ** 53n + 1n,
    2n ** 63n,
    2n ** 64n - 4096n,
    2n ** 64n - 1n,
  ]
  const all = [...near, ...borders, ...large].map((each) => BigInt.asUintN(bits, each))
  return some([...new Set(all)].filter((each) => each !== value))
}

type Field = { name: string; at: number; length: number }
const fieldsOf = (kind: keyof typeof structs, start: number, prefix: string): Field[] => {
  let at = start
  return structs[kind].map(([name, length]) => {
    const field = { name: `${prefix}.${name}`, at, length: Number(length) }
    at += field.length
    return field
  })
}
const valueAt = (bytes: Buffer, { at, length }: Field): bigint =>
  length <= 4 ? BigInt(bytes.readUIntLE(at, length)) : bytes.readBigUInt64LE(at)
function setValue(bytes: Buffer, { at, length }: Field, value: bigint): void {
  if (length <= 4) bytes.writeUIntLE(Number(value), at, length)
  else bytes.writeBigUInt64LE(value, at)
}

describe.each(names)('%s: with all checksums in order, and', (name) => {
  test('a field of any struct that says something else', async () => {
    path = inDirectory(name)
    const { entries, sections, trailer: tail } = parseImage(files[name])
    const fields = [
      ...fieldsOf('header', 0, 'header'),
      ...entries.flatMap(({ start }, i) => fieldsOf('entry', start, `entry ${i}`)),
      ...sections.flatMap(({ start }, i) => fieldsOf('section', start, `section ${i}`)),
      ...fieldsOf('trailer', tail.start, 'trailer'),
    ].filter((field) => !/(header|trailer)\.checksum|_checksum$/.test(field.name) && field.length <= 16)
    let refused = 0
    for (const field of fields) {
      const good = valueAt(files[name], field)
      for (const value of valuesFor(good, Math.min(field.length, 8) * 8)) {
        writeFileSync(path, files[name])
        const image = new EditableImage(path)
        setValue(image.bytes, field, value)
        image.save(path)
        const verdict = await expectSameVerdict(path, `${field.name} is 0x${value.toString(16)}`)
        if (isRefused(verdict)) refused++
      }
    }
    expect(refused).toBeGreaterThan(fields.length / 2)
  })

  test('bytes of pages, sums, names or metadata that are others', async () => {
    path = inDirectory(name)
    const { entries, trailer: tail } = parseImage(files[name])
    const { index_offset, metadata_offset, metadata_length } = tail.values
    const places = [
      ...entries.flatMap(({ values: { present, file_offset, stored_length } }) =>
        present === 0n ? [] : [0, 1, 4, 5, 6, stored_length - 1].map((byte) => file_offset + byte),
      ),
      ...Array.from({ length: 30 }, () => random.below(files[name].length)),
      ...Array.from({ length: 30 }, () => index_offset + random.below(files[name].length - index_offset)),
      ...Array.from({ length: 10 }, () => metadata_offset - 40 + random.below(metadata_length + 40)),
    ]
    for (const byte of places) {
      writeFileSync(path, files[name])
      const image = new EditableImage(path)
      image.bytes.writeUInt8(random.below(256), byte)
      for (const [i, { values }] of entries.entries()) {
        const { file_offset, stored_length } = values
        if (byte < file_offset || byte >= file_offset + stored_length) continue
        image.sealEntry(i)
      }
      image.save(path)
      await expectSameVerdict(path, `byte ${byte}, seed ${testSeed}`)
    }
  })
})

test('a newer minor version, and a parent that has another state', async () => {
  path = inDirectory('flat')
  const image = new EditableImage(path)
  image.bytes.writeUInt16LE(9, header.versionMinor)
  image.save(path)
  expect(isRefused(await expectSameVerdict(path, 'minor'))).toBe(false)
  const parent = new EditableImage(inDirectory('packed'))
  parent.setTrailer(trailer.state, 5n)
  parent.save(inDirectory('packed'))
  const { inspected } = await expectSameVerdict(inDirectory('delta'), 'state')
  expect(inspected).toMatchObject({ code: 'ERR_STILLFRAME_PARENT' })
})

test('limits', async () => {
  path = inDirectory('flat')
  for (const [limits, isIn] of [
    [{ sections: 4 }, false],
    [{ sections: 5 }, true],
    [{ metadataBytes: 17 }, false],
    [{ metadataBytes: 18 }, true],
    [{ metadataValues: 3 }, false],
    [{ metadataValues: 4 }, true],
    [{ metadataDepth: 1 }, false],
    [{ metadataDepth: 2 }, true],
  ] as const) {
    const { inspected } = await expectSameVerdict(path, JSON.stringify(limits), limits)
    const isRefusal = (inspected as { code?: string }).code === 'ERR_OUT_OF_RANGE'
    expect(isRefusal, JSON.stringify(limits)).toBe(!isIn)
  }
})

test('sections of a file that is a list of the same one', async () => {
  path = inDirectory('flat')
  const image = new EditableImage(path)
  image.setSection(1, section.firstEntry, 0n)
  image.save(path)
  expect(isRefused(await expectSameVerdict(path, 'entries'))).toBe(true)
})
