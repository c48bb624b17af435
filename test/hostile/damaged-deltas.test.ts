// Promise I6, for deltas: damage to any file of a chain is found before a dependent byte is handed
// out, and the error names the file. Proved by damaging each field of each struct, and bytes of
// each other part, of a delta, of its parent delta and of the full file below, and by reading in
// every way.

import { writeFileSync } from 'node:fs'
import { inspect, restore, verify } from 'stillframe'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { parseImage } from '../../scripts/dump-image.mjs'
import { sharedTemporaryDirectory, useTemporaryDirectory } from '../support/temporary-directory.js'
import { type Name, names, newest, writeChain } from './chain.js'
import { refusalOf } from './sample.js'

const inDirectory = useTemporaryDirectory()

let files: Record<Name, Buffer>
const shared = sharedTemporaryDirectory()
beforeAll(async () => {
  files = await writeChain(shared)
})

beforeEach(() => {
  for (const name of names) writeFileSync(inDirectory(name), files[name])
})

/**
 * The operation that detects a changed byte: opening the file, reading its pages as well, or only a
 * check of every byte.
 */
type Noticed = 'opened' | 'restored' | 'verified'
type Part = (file: Buffer) => { noticed: Noticed; bytes: number[] }

const image = (file: Buffer) => parseImage(file)
type Struct = ReturnType<typeof parseImage>['header']
/** The first and the last byte of each field. */
const bytesOf = (...parts: Struct[]): number[] =>
  parts.flatMap(({ fields }) =>
    fields.flatMap(({ offset, bytes }: { offset: number; bytes: Buffer }) => [
      offset,
      offset + bytes.length - 1,
    ]),
  )
/**
 * The stored blocks. The content of 'cleared' in the full file is replaced by zeros in the next
 * file.
 */
const blocksOf = (file: Buffer): { start: number; end: number; isReplaced: boolean }[] => {
  const { entries, sections } = image(file)
  return entries
    .filter(({ values }) => values.present !== 0n)
    .map(({ values: { file_offset, stored_length, section } }) => ({
      start: file_offset,
      end: file_offset + stored_length,
      isReplaced: sections[section]?.name === 'cleared',
    }))
}

const parts: Record<string, Part> = {
  'the header': (file) => ({ noticed: 'opened', bytes: [...bytesOf(image(file).header), 88, 4095] }),
  'the index': (file) => ({ noticed: 'opened', bytes: bytesOf(...image(file).entries) }),
  'the section table': (file) => {
    const { sections, trailer } = image(file)
    const { metadata_offset, names_length } = trailer.values
    return {
      noticed: 'opened',
      bytes: [...bytesOf(...sections), metadata_offset - names_length, metadata_offset - 1],
    }
  },
  'the metadata and the padding behind it': (file) => {
    const { trailer } = image(file)
    const { metadata_offset, metadata_length } = trailer.values
    const end = metadata_offset + metadata_length
    return { noticed: 'opened', bytes: [metadata_offset, end - 1, end, trailer.start - 1] }
  },
  'the trailer': (file) => {
    const { trailer } = image(file)
    return { noticed: 'opened', bytes: [...bytesOf(trailer), trailer.start + 152, file.length - 1] }
  },
  'the stored blocks': (file) => ({
    noticed: 'restored',
    bytes: blocksOf(file)
      .filter(({ isReplaced }) => !isReplaced)
      .flatMap(({ start, end }) => [start, (start + end) >>> 1, end - 1]),
  }),
  'the blocks of which newer files have all pages': (file) => ({
    noticed: 'verified',
    bytes: blocksOf(file)
      .filter(({ isReplaced }) => isReplaced)
      .flatMap(({ start, end }) => [start, end - 1]),
  }),
  'the sums': (file) => ({
    noticed: 'verified',
    bytes: image(file).sums.flatMap(({ offset }: { offset: number }) => [offset, offset + 15]),
  }),
  'the gaps': (file) => {
    const { index_offset } = image(file).trailer.values
    const ends = blocksOf(file).map(({ end }) => end)
    const isFree = (byte: number): boolean =>
      byte < index_offset && blocksOf(file).every(({ start, end }) => byte < start || byte >= end)
    return { noticed: 'verified', bytes: [4096, 65_535, ...ends, index_offset - 1].filter(isFree) }
  },
}

const cases = names.flatMap((name) =>
  Object.entries(parts)
    .filter(([part]) => name === 'full' || !part.includes('newer files'))
    .map(([part, places]) => ({ name, part, places })),
)
describe.each(cases)('$name: a damaged byte in $part', ({ name, places }) => {
  it('is found by all who depend on it, and reported by verify()', async () => {
    const path = inDirectory('newest')
    const { noticed, bytes } = places(files[name])
    expect(bytes.length).toBeGreaterThan(0)
    for (const byte of bytes) {
      const damaged = Buffer.from(files[name])
      damaged.writeUInt8(damaged.readUInt8(byte) ^ 0xff, byte)
      writeFileSync(inDirectory(name), damaged)
      await expectNoticed(path, { name, noticed, byte })
    }
    writeFileSync(inDirectory(name), files[name])
    expect(await verify(path)).toMatchObject({ ok: true, problems: [] })
  })
})

/**
 * Checks the result of each way of reading the newest file, with one damaged byte in one file of
 * the chain.
 */
async function expectNoticed(
  path: string,
  { name, noticed, byte }: { name: Name; noticed: Noticed; byte: number },
): Promise<void> {
  const where = `byte ${byte} of ${name}`
  // Without its magic, a file is not a snapshot. A parent that cannot be opened counts as missing.
  const own = byte < 8 ? 'ERR_STILLFRAME_FORMAT' : 'ERR_STILLFRAME_CORRUPT'
  const code = name !== 'newest' && noticed === 'opened' ? 'ERR_STILLFRAME_PARENT' : own
  const inThisFile = name === 'newest' ? '' : inDirectory(name)
  if (noticed === 'verified') {
    using restored = await restore(path, { mode: 'copy' })
    for (const [section, bytes] of Object.entries(newest)) {
      const found = Buffer.from(restored.regions[section]?.buffer as ArrayBuffer)
      expect(found.equals(bytes), `${where}, ${section}`).toBe(true)
    }
    const report = await verify(path)
    expect(report, where).toMatchObject({ ok: false })
    expect(report.problems[0]?.reason, where).toContain(inThisFile)
    return
  }
  const { errors, report, touched } = await refusalOf(path, noticed === 'opened', newest)
  expect(touched, where).toBe(false)
  for (const error of errors) {
    expect(error, where).toMatchObject({ code, path })
    // Without its magic or its id, the file cannot be recognized as the parent.
    const isNamed = byte >= 8 && (byte < 16 || byte >= 32)
    if (isNamed) expect(error.message, where).toContain(inThisFile)
  }
  if (code === 'ERR_STILLFRAME_PARENT') {
    expect(report, where).toMatchObject({ code })
    return
  }
  expect(report, where).toMatchObject({ ok: false })
  if ('problems' in report) expect(report.problems[0]?.reason, where).toContain(inThisFile)
  if (noticed !== 'opened') expect(await inspect(path)).toMatchObject({ metadata: 'newest' })
}
