/**
 * Promise: the reader answers a wrong call with an error that describes a correct one, stops at
 * once when it is aborted, and leaves nothing open. Proved call by call, with sources that
 * misbehave, and by counting descriptors.
 */

import { Blob } from 'node:buffer'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { snapshot } from 'stillframe'
import { inspect, openSnapshot, type RandomAccess, restore, SnapshotFile, verify } from 'stillframe/reader'
import { beforeEach, describe, expect, test } from 'vitest'
import { flipByte } from '../support/damage.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { EditableImage, entry, section, trailer } from '../support/image-editor.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const main = new Uint8Array(600_000).map((_, i) => 1 + (i % 251))
let path = ''
let delta = ''

beforeEach(async () => {
  path = inDirectory('full')
  delta = inDirectory('delta')
  await snapshot({ main, other: Uint8Array.of(1) }, path, { metadata: { epoch: 7 } }).done
  await snapshot({ main: main.slice().fill(9, 0, 5000) }, delta, { parent: path }).done
})

const ways = {
  openSnapshot: (source: unknown, options?: object) => openSnapshot(source as string, options),
  inspect: (source: unknown, options?: object) => inspect(source as string, options),
  verify: (source: unknown, options?: object) => verify(source as string, options),
  restore: (source: unknown, options?: object) => restore(source as string, options),
}

describe.each(Object.entries(ways))('%s()', (_, open) => {
  test.each([
    [undefined, 'ERR_INVALID_ARG_TYPE', /source must be a string, a file: URL, a Blob, or an object/],
    [7, 'ERR_INVALID_ARG_TYPE', /not 7/],
    [{ size: 7 }, 'ERR_INVALID_ARG_TYPE', /size and read/],
    ['', 'ERR_INVALID_ARG_VALUE', /must not be empty/],
    [{ size: -1, read: () => {} }, 'ERR_INVALID_ARG_VALUE', /source.size must be an integer/],
    [{ size: 0.5, read: () => {} }, 'ERR_INVALID_ARG_VALUE', /source.size must be an integer/],
  ])('of %s is refused', async (source, code, message) => {
    const error = await rejectionOf(open(source))
    expect(error).toMatchObject({ name: 'TypeError', code })
    expect(error.message).toMatch(message)
  })

  test.each([
    [{ parent: 'x' }, /options.parent is not a known option/],
    [{ parents: 7 }, /options.parents must be a string/],
    [{ parents: ['x', 7] }, /options.parents\[1\] must be a string/],
    [{ limits: { sections: 0 } }, /options.limits.sections must be/],
    [7, /options must be an object/],
  ])('with %j is refused', async (options, message) => {
    expect((await rejectionOf(open(path, options as object))).message).toMatch(message)
  })

  test('closes what it opened when it fails', async () => {
    const before = readdirSync('/proc/self/fd').length
    truncateSync(path, 4096)
    await open(delta).catch(() => {})
    await open(path).catch(() => {})
    expect(readdirSync('/proc/self/fd')).toHaveLength(before)
  })
})

test('a file is closed when it has been read, and an open one by close()', async () => {
  await inspect(delta)
  const before = readdirSync('/proc/self/fd').length
  for (const way of [inspect, verify, restore]) await way(delta)
  expect(readdirSync('/proc/self/fd')).toHaveLength(before)
  const open = await openSnapshot(delta)
  expect(readdirSync('/proc/self/fd')).toHaveLength(before + 2)
  await open.close()
  await open[Symbol.asyncDispose]()
  expect(readdirSync('/proc/self/fd')).toHaveLength(before)
  for (const use of [() => open.read('main'), () => open.verify(), () => open.chunks('main').next()]) {
    const error = await rejectionOf((async () => await use())())
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CLOSED', path: delta })
  }
})

test('who closes a snapshot ends those who read from it', async () => {
  const open = await openSnapshot(path)
  const early = rejectionOf(open.read('main'))
  const chunks = open.chunks('main')
  await open.close()
  for (const error of [await early, await rejectionOf(chunks.next())]) {
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CLOSED', path })
  }
})

test('parts of sections', async () => {
  await using open = await openSnapshot(path)
  for (const [start, end] of [
    [0, 0],
    [0, 1],
    [262_143, 262_145],
    [599_999, 600_000],
    [600_000, 600_000],
    [5, undefined],
    [undefined, 9],
  ] as const) {
    const found = Buffer.from(await open.read('main', { start, end }))
    expect(found.equals(main.subarray(start ?? 0, end ?? main.length))).toBe(true)
  }
  for (const [options, message] of [
    [{ end: 600_001 }, 'options.end must be at most 600000'],
    [{ start: 2, end: 1 }, 'options.start must be at most options.end (1)'],
    [{ start: 600_001 }, 'options.start must be at most'],
    [{ start: -1 }, 'options.start must be'],
    [{ from: 1 }, 'options.from is not a known option'],
    [{ verify: 1 }, 'options.verify must be a boolean'],
  ] as const) {
    expect((await rejectionOf(open.read('main', options as object))).message).toContain(message)
    expect(thrownBy(() => open.chunks('main', options as object)).message).toContain(message)
  }
  const error = await rejectionOf(open.read('none'))
  expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
  expect(error.message).toContain("no section 'none'; it has 'main' 'other'")
})

test('restore() takes the sections that are asked for, in as many bytes as are allowed', async () => {
  const { buffers, metadata, info } = await restore<{ epoch: number }>(path, { sections: ['other'] })
  expect(Object.keys(buffers)).toEqual(['other'])
  expect([metadata?.epoch, info.sections.length]).toEqual([7, 2])
  await restore(path, { sections: ['other'], maxBytes: 1 })
  for (const [options, code, message] of [
    [{ sections: ['none'] }, 'ERR_INVALID_ARG_VALUE', "no section 'none'"],
    [{ sections: [] }, 'ERR_INVALID_ARG_VALUE', 'at least one'],
    [{ sections: 'main' }, 'ERR_INVALID_ARG_TYPE', 'an array'],
    [{ maxBytes: 600_000 }, 'ERR_OUT_OF_RANGE', 'hold 600001 bytes, more than maxBytes (600000)'],
    [{ maxBytes: 0 }, 'ERR_OUT_OF_RANGE', 'options.maxBytes must be'],
  ] as const) {
    const error = await rejectionOf(restore(path, options as object))
    expect(error).toMatchObject({ code })
    expect(error.message).toContain(message)
  }
})

test('damage in a section that is not asked for counts for restore(), and not for read()', async () => {
  const image = new EditableImage(path)
  flipByte(path, Number(image.entryField(3, entry.fileOffset)))
  const damage = { code: 'ERR_STILLFRAME_CORRUPT', section: 'other', path }
  expect(await rejectionOf(restore(path, { sections: ['main'] }))).toMatchObject(damage)
  await using open = await openSnapshot(path)
  expect(Buffer.from(await open.read('main')).equals(main)).toBe(true)
  expect(await rejectionOf(open.read('other'))).toMatchObject(damage)
  expect(new Uint8Array(await open.read('other', { verify: false }))).toEqual(Uint8Array.of(1 ^ 0xff))
  expect((await restore(path, { verify: false })).buffers.other?.byteLength).toBe(1)
  expect(await open.verify()).toMatchObject({ ok: false, problems: [{ section: 'other' }] })
})

test('a part of a delta is read only if all of it adds up to what was frozen', async () => {
  const image = new EditableImage(delta)
  image.setTrailer(trailer.state, 5n)
  image.save(delta)
  await using open = await openSnapshot(delta)
  const error = await rejectionOf(open.read('main', { start: 0, end: 1 }))
  expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path: delta })
  expect(error.message).toContain('do not add up to the memory that was frozen')
  expect(new Uint8Array(await open.read('main', { end: 1, verify: false }))).toEqual(Uint8Array.of(9))
})

test('pages of a delta are those of its sums, in whichever file they lie', async () => {
  const image = new EditableImage(path)
  // Two neighboring pages are swapped, and the checksum of the block is updated.
  const at = Number(image.entryField(1, entry.fileOffset))
  const pages = Buffer.from(image.bytes.subarray(at, at + 8192))
  pages.copy(image.bytes, at, 4096)
  pages.copy(image.bytes, at + 4096, 0, 4096)
  image.sealEntry(1)
  image.save(path)
  await using open = await openSnapshot(delta)
  const error = await rejectionOf(open.read('main', { start: 262_144 }))
  expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', section: 'main' })
  expect(error.message).toContain(
    `in the parent file ${path}: block 1 has pages that do not match their sums`,
  )
})

test('limits hold, and what they refuse is named', async () => {
  const image = new EditableImage(path)
  // A claim of 128 TiB in a file of a few pages.
  image.setSection(0, section.byteLength, 2n ** 47n)
  image.save(inDirectory('large'))
  for (const open of Object.values(ways)) {
    const error = await rejectionOf(open(path, { limits: { metadataBytes: 5 } }))
    expect(error).toMatchObject({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE' })
    expect(error.message).toContain('limits.metadataBytes')
    if (open !== ways.verify)
      expect(await rejectionOf(open(inDirectory('large')))).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
  }
})

test('an abort ends the work with its reason', async () => {
  const reason = new Error('enough')
  const aborted = AbortSignal.abort(reason)
  await using open = await openSnapshot(delta)
  const uses = [
    () => verify(path, { signal: aborted }),
    () => restore(path, { signal: aborted }),
    () => open.verify({ signal: aborted }),
    () => open.read('main', { signal: aborted }),
    () => open.chunks('main', { signal: aborted }).next(),
  ]
  for (const use of uses) expect(await rejectionOf(use())).toBe(reason)

  // Aborts in the middle of the work.
  const controller = new AbortController()
  const bytes = readFileSync(path)
  let reads = 0
  const slow: RandomAccess = {
    size: bytes.length,
    read: async (offset, length) => {
      if (++reads > 12) controller.abort(reason)
      return bytes.subarray(offset, offset + Math.min(length, 70_000))
    },
  }
  expect(await rejectionOf(verify(slow, { signal: controller.signal }))).toBe(reason)
  expect(await open.verify()).toMatchObject({ ok: true })
})

test('an abort does not wait for a source that does not answer', async () => {
  const bytes = readFileSync(path)
  let answers = true
  const source: RandomAccess = {
    size: bytes.length,
    read: (offset, length) =>
      answers ? Promise.resolve(bytes.subarray(offset, offset + length)) : new Promise(() => {}),
  }
  const open = await openSnapshot(source)
  answers = false
  const uses = [
    (signal: AbortSignal) => open.read('main', { signal }),
    (signal: AbortSignal) => open.chunks('main', { signal }).next(),
    (signal: AbortSignal) => open.verify({ signal }),
  ]
  for (const use of uses) {
    const controller = new AbortController()
    const used = use(controller.signal)
    setImmediate(() => controller.abort())
    expect((await rejectionOf(used)).name).toBe('AbortError')
  }
})

test('one who gives up does not take those along who read as well', async () => {
  await using open = await openSnapshot(delta)
  const controller = new AbortController()
  const given = open.read('main', { signal: controller.signal })
  const kept = open.read('main')
  controller.abort()
  expect((await rejectionOf(given)).name).toBe('AbortError')
  expect((await kept).byteLength).toBe(600_000)
})

test('progress is told, and the last word is that all is done', async () => {
  const told: number[][] = []
  const onProgress = ({ bytesDone, bytesTotal }: { bytesDone: number; bytesTotal: number }): void => {
    told.push([bytesDone, bytesTotal])
  }
  await verify(path, { onProgress })
  await restore(path, { onProgress })
  await verify(delta, { onProgress })
  expect(told.at(0)).toEqual([600_001, 600_001])
  expect(told.at(-1)).toEqual([1_200_001, 1_200_001])
})

describe('a source that', () => {
  const sourceOf = (read: RandomAccess['read'], size = readFileSync(path).length): RandomAccess => ({
    size,
    read,
  })

  test('rejects: its own error comes through', async () => {
    const own = new Error('no such object')
    for (const open of Object.values(ways)) {
      expect(await rejectionOf(open(sourceOf(() => Promise.reject(own))))).toBe(own)
    }
  })

  test('gives nothing, or something else, or too much', async () => {
    for (const [bytes, code] of [
      [new Uint8Array(0), 'ERR_STILLFRAME_CORRUPT'],
      ['text', 'ERR_INVALID_ARG_TYPE'],
      [new Uint8Array(5000), 'ERR_INVALID_ARG_VALUE'],
    ] as const) {
      const source = sourceOf(async () => bytes as Uint8Array)
      expect(await rejectionOf(openSnapshot(source))).toMatchObject({ code })
    }
  })

  test('is no snapshot, or ends early', async () => {
    const text = new Blob(['Dear Sir or Madam,\n'])
    expect(await rejectionOf(openSnapshot(text))).toMatchObject({ code: 'ERR_STILLFRAME_FORMAT' })
    expect(await verify(text)).toMatchObject({
      ok: false,
      problems: [{ reason: expect.stringMatching(/not a stillframe/) }],
    })
    const cut = new Blob([readFileSync(path).subarray(0, -4096)])
    expect(await rejectionOf(openSnapshot(cut))).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
  })
})

test('what is in the place of a file is named, and a FIFO is not waited for', async () => {
  spawnSync('mkfifo', [inDirectory('FIFO')])
  mkdirSync(inDirectory('directory'))
  writeFileSync(inDirectory('empty'), '')
  for (const [name, code] of [
    ['none', 'ERR_STILLFRAME_IO'],
    ['directory', 'ERR_STILLFRAME_IO'],
    ['empty', 'ERR_STILLFRAME_FORMAT'],
    ['FIFO', 'ERR_STILLFRAME_FORMAT'],
  ] as const) {
    expect(await rejectionOf(openSnapshot(inDirectory(name)))).toMatchObject({
      code,
      path: inDirectory(name),
    })
  }
})

test('nobody else makes a SnapshotFile', () => {
  const Anyone = SnapshotFile as unknown as new () => SnapshotFile
  expect(thrownBy(() => new Anyone()).message).toContain('use openSnapshot()')
})
