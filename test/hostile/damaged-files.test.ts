// Promise I6: a damaged byte is found before any memory is handed out, and the error names the
// section and the offset. Proved through restore(), inspect() and verify() on bytes from each part
// of a small file. (Every byte of it: native/test/damaged_image_test.cc.)

import { readFileSync, writeFileSync } from 'node:fs'
import { inspect, restore, snapshot, verify } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { flipByte } from '../support/damage.js'
import { rejectionOf } from '../support/expect-error.js'
import { EditableImage, entry } from '../support/image-editor.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { contents, refusalOf, writeSample } from './sample.js'

const inDirectory = useTemporaryDirectory()
let good = Buffer.alloc(0)
let image: EditableImage

async function fresh(): Promise<string> {
  const path = inDirectory('sample')
  await writeSample(path)
  good = readFileSync(path)
  image = new EditableImage(path)
  return path
}

interface Place {
  part: string
  /** Bytes to damage, one at a time. */
  at: () => number[]
  /** The offset in the report, if it differs from the offset of the damaged byte. */
  offset?: (at: number) => number
  section?: string
  /** True if inspect() finds the damage too, since it is neither in the pages nor between them. */
  inspected: boolean
}

const places: Place[] = [
  { part: 'the header', at: () => [8, 16, 32, 48, 72, 80, 100, 4095], offset: () => 0, inspected: true },
  { part: 'the gap behind the header', at: () => [4096, 30_000, 65535], inspected: false },
  {
    part: 'a first page',
    at: () => [65536, 68_000],
    offset: () => 65536,
    section: 'first',
    inspected: false,
  },
  {
    part: 'a partial page',
    at: () => [70_535, 73_727],
    offset: () => 65536,
    section: 'first',
    inspected: false,
  },
  { part: 'the gap behind a section', at: () => [73_728, 131_071], inspected: false },
  {
    part: 'a block of zeros',
    at: () => [131_072, 200_000, 393_215],
    section: 'zero then some',
    inspected: false,
  },
  {
    part: 'the block behind it',
    at: () => [393_216, 393_515, 397_311],
    offset: () => 393_216,
    section: 'zero then some',
    inspected: false,
  },
  {
    part: 'the index',
    at: () => [image.indexAt + entry.present, image.indexAt + entry.zero, image.indexAt + entry.checksum],
    offset: () => image.indexAt,
    inspected: true,
  },
  {
    part: 'the section table',
    at: () => [image.sectionsAt, image.namesAt, image.metadataAt - 1],
    offset: () => image.sectionsAt,
    inspected: true,
  },
  {
    part: 'the metadata',
    at: () => [image.metadataAt, image.metadataEnd - 1],
    offset: () => image.metadataAt,
    inspected: true,
  },
  { part: 'the padding of the tail', at: () => [image.metadataEnd, image.trailerAt - 1], inspected: true },
  {
    part: 'the trailer',
    at: () => [0, 8, 24, 64, 72, 87, 144, 151, 152, 4095].map((byte) => image.trailerAt + byte),
    offset: () => image.trailerAt,
    inspected: true,
  },
]

describe.each(places)('a damaged byte in $part', ({ at, offset, section, inspected }) => {
  it('keeps every byte of the file from being handed out', async () => {
    const path = await fresh()
    for (const byte of at()) {
      flipByte(path, byte)
      const { errors, report, touched } = await refusalOf(path, inspected)
      expect(touched, `byte ${byte}`).toBe(false)
      const place = { offset: offset?.(byte) ?? byte, ...(section !== undefined && { section }) }
      for (const error of errors) {
        expect(error, `byte ${byte}`).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path, ...place })
        expect(Object.hasOwn(error, 'section')).toBe(
          // An impossible index entry is reported with a section too.
          section !== undefined || (error as { section?: string }).section !== undefined,
        )
      }
      expect(report).toMatchObject({ ok: false, problems: [place] })
      if (!inspected) expect(await inspect(path)).toMatchObject({ metadata: { epoch: 7 } })
      writeFileSync(path, good)
    }
    expect(await verify(path)).toMatchObject({ ok: true })
  })
})

it('verify() reports all the damage, in the order of the file, as far as it is asked to', async () => {
  const path = await fresh()
  for (const byte of [5000, 66_000, 100_000, 140_000, 393_300]) flipByte(path, byte)
  const { ok, problems } = await verify(path)
  expect(ok).toBe(false)
  expect(problems.map((problem) => [problem.offset, problem.section])).toEqual([
    [5000, undefined],
    [65536, 'first'],
    [100_000, undefined],
    [140_000, 'zero then some'],
    [393_216, 'zero then some'],
  ])
  expect((await verify(path, { maxProblems: 2 })).problems).toEqual(problems.slice(0, 2))
})

it('a section that is not asked for counts as well: the file is checked as a whole', async () => {
  const path = await fresh()
  flipByte(path, 393_300)
  await expect(restore(path, { sections: ['first'] })).rejects.toMatchObject({
    code: 'ERR_STILLFRAME_CORRUPT',
    section: 'zero then some',
  })
})

describe.each([
  ['the first sum', () => image.sumsAt],
  ['the last sum', () => image.sectionsAt - 1],
] as const)('a damaged byte in %s', (_, byte) => {
  it('is reported, and nobody can build on the file; the memory does not depend on it', async () => {
    const path = await fresh()
    flipByte(path, byte())
    const { ok, problems } = await verify(path)
    expect(ok).toBe(false)
    expect(problems).toMatchObject([{ offset: image.sumsAt }])
    const delta = snapshot(contents, inDirectory('delta'), { parent: path })
    expect(await rejectionOf(delta.done)).toMatchObject({ code: 'ERR_STILLFRAME_PARENT' })
    for (const mode of ['map', 'copy'] as const) {
      expect(await rejectionOf(restore(path, { mode }))).toMatchObject({
        code: 'ERR_STILLFRAME_CORRUPT',
        offset: image.sumsAt,
      })
      using restored = await restore(path, { mode, verify: false })
      for (const [name, bytes] of Object.entries(contents)) {
        expect(new Uint8Array(restored.regions[name]?.buffer as ArrayBuffer)).toEqual(bytes)
      }
    }
  })
})

it('verify: false takes the pages on trust, and nothing else', async () => {
  const path = await fresh()
  flipByte(path, 66_000)
  using restored = await restore(path, { verify: false })
  expect(new Uint8Array(restored.regions['first']?.buffer as ArrayBuffer)[464]).toBe(3 ^ 0xff)
  flipByte(path, image.metadataAt)
  await expect(restore(path, { verify: false })).rejects.toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
})
