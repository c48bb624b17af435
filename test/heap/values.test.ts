/**
 * Promise: whatever has happened to a file of values, reading yields each value as it was written
 * or an error that locates the damage. Proved by damaging small files at every position, and with
 * files of other kinds.
 */

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { serialize } from 'node:v8'
import { crc32 } from 'node:zlib'
import { StillframeError } from 'stillframe'
import { readValues, snapshotState } from 'stillframe/heap'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { openDescriptors } from '../support/footprint.mjs'
import { needsMemoryDirectory, needsTools } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { valuesOf } from './values-of.js'

const inDirectory = useTemporaryDirectory()
const values = [{ a: 1 }, 'text', [new Uint8Array([1, 2, 3])], null]

let path = ''
let whole = Buffer.alloc(0)
/** Offsets of the values, of the end record, and of the end of the file. */
let starts: number[] = []
beforeEach(async () => {
  path = inDirectory('file')
  await snapshotState(path, (out) => {
    for (const value of values) out.value(value)
  }).done
  whole = readFileSync(path)
  starts = [0]
  for (const value of values) starts.push((starts.at(-1) ?? 0) + 16 + serialize(value).length)
  starts.push((starts.at(-1) ?? 0) + 16)
})

/** Reads a file: the values, and the error that ended the reading. */
async function reading(bytes?: Uint8Array): Promise<{ read: unknown[]; error: StillframeError | undefined }> {
  if (bytes !== undefined) writeFileSync(path, bytes)
  const read: unknown[] = []
  try {
    for await (const value of readValues(path)) read.push(value)
  } catch (error) {
    return { read, error: error as StillframeError }
  }
  return { read, error: undefined }
}

/** Expects the values before the damage, and an error that names the damaged value. */
function expectDamage({ read, error }: Awaited<ReturnType<typeof reading>>, index: number, at: string): void {
  expect(read, at).toEqual(values.slice(0, index))
  expect(error, at).toBeInstanceOf(StillframeError)
  const start = starts[index] ?? -1
  if (error?.code === 'ERR_STILLFRAME_FORMAT') expect(start, at).toBe(0)
  else expect(error, at).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', offset: start, path })
  expect(error?.message, at).toContain(path)
}

const record = (payload: Uint8Array, length: number | bigint = payload.length): Buffer => {
  const head = Buffer.from('SFV1????????????', 'latin1')
  head.writeUInt32LE(crc32(payload), 4)
  head.writeBigUInt64LE(BigInt(length), 8)
  return Buffer.concat([head, payload])
}

const end = (count: number): Buffer => {
  const bytes = Buffer.from('SFVE????????????', 'latin1')
  bytes.writeBigUInt64LE(BigInt(count), 8)
  bytes.writeUInt32LE(crc32(bytes.subarray(8)), 4)
  return bytes
}

/** The file without its end record. */
const unended = (): Buffer => whole.subarray(0, starts[values.length])

describe('damage', () => {
  test('the file is what the tests below take it for', async () => {
    expect(whole.length).toBe(starts.at(-1))
    const records = values.map((value) => record(serialize(value)))
    expect(whole.equals(Buffer.concat([...records, end(values.length)]))).toBe(true)
    expect(await reading()).toEqual({ read: values, error: undefined })
  })

  test('every changed byte is found, with its value', async () => {
    for (let at = 0; at < whole.length; at++) {
      for (const change of [0x01, 0x10, 0x55, 0x80, 0xff]) {
        const damaged = Buffer.from(whole)
        damaged[at] = (damaged[at] ?? 0) ^ change
        const index = starts.findLastIndex((start) => start <= at)
        expectDamage(await reading(damaged), index, `byte ${at} ^ ${change}`)
      }
    }
  })

  test('every missing end is found, with the value that it is cut from', async () => {
    for (let length = 0; length < whole.length; length++) {
      const result = await reading(whole.subarray(0, length))
      const index = starts.findLastIndex((start) => start <= length)
      // An empty file is valid and has no values.
      if (length === 0) expect(result).toEqual({ read: [], error: undefined })
      else expectDamage(result, index, `${length} bytes`)
    }
  })

  test('everything that is added is found', async () => {
    for (const added of ['\0', 'S', 'SFV', 'SFV1', 'SFV1\0\0\0\0\0\0\0\0\0\0\0', 'SFV2'.repeat(10)]) {
      const result = await reading(Buffer.concat([whole, Buffer.from(added, 'latin1')]))
      expectDamage(result, values.length + 1, JSON.stringify(added))
    }
    expectDamage(await reading(Buffer.concat([whole, whole])), values.length + 1, 'twice')
  })

  test('a wrong number of values is found, and an end that stands too early', async () => {
    for (const count of [0, values.length - 1, values.length + 1, 2 ** 52]) {
      expectDamage(await reading(Buffer.concat([unended(), end(count)])), values.length, String(count))
    }
    const { read, error } = await reading(end(0))
    expect(read).toEqual([])
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_FORMAT' })
  })

  test('a wrong length takes no memory', async () => {
    const before = process.memoryUsage().arrayBuffers
    for (const length of [2n ** 31n, 2n ** 32n, 2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n]) {
      const bytes = Buffer.concat([unended(), record(serialize(1), length)])
      expectDamage(await reading(bytes), values.length, String(length))
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 << 20)
    }
  })

  test('a length beyond memory is an error of the file', async () => {
    const { allocUnsafeSlow } = Buffer
    const allocate = vi.spyOn(Buffer, 'allocUnsafeSlow').mockImplementation((size) => {
      if (size > 1 << 20) throw new RangeError('Array buffer allocation failed')
      return allocUnsafeSlow(size)
    })
    onTestFinished(() => allocate.mockRestore())
    const { read, error } = await reading(Buffer.concat([record(new Uint8Array(2 << 20)), end(1)]))
    expect(read).toEqual([])
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', offset: 0 })
  })

  test('what V8 cannot read is an error of the file, though its checksum is right', async () => {
    const payloads = [
      [],
      [0],
      [0xff],
      [0xff, 0x0f],
      // A future format version.
      [0xff, 0x7f, 0x6f],
      // An array that claims 2^28 elements; a host object of unknown type.
      [0xff, 0x0f, 0x41, 0x80, 0x80, 0x80, 0x80, 0x01],
      [0xff, 0x0f, 0x5c, 0x63],
      // A string and a typed array that are longer than the payload.
      [0xff, 0x0f, 0x22, 0xff, 0xff, 0xff, 0x7f],
      [0xff, 0x0f, 0x5c, 0x01, 0xff, 0xff, 0xff, 0x7f],
      // Views: of unknown kind, with half an element, without a buffer, outside the buffer, and of
      // a view.
      [0xff, 0x0f, 0x5c, 0x0e, 0x00],
      [0xff, 0x0f, 0x5c, 0x5d, 0x00],
      [0xff, 0x0f, 0x5c, 0x05, 0x03, 1, 2, 3],
      [0xff, 0x0f, 0x5c, 0x21, 0x00, 0x01, 0x30],
      [0xff, 0x0f, 0x5c, 0x21, 0x02, 0x01, 0x42, 0x02, 1, 2],
      [0xff, 0x0f, 0x5c, 0x25, 0x00, 0x03, 0x42, 0x04, 1, 2, 3, 4],
      [0xff, 0x0f, 0x5c, 0x21, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x01, 0x42, 0x01, 1],
      [0xff, 0x0f, 0x5c, 0x21, 0x00, 0x00, 0x5c, 0x01, 0x00],
      // Endless nesting: objects, arrays, views of views.
      [0xff, 0x0f, ...Array.from({ length: 50_000 }, () => [0x6f, 0x22, 0x01, 0x61]).flat()],
      [0xff, 0x0f, ...Array.from({ length: 50_000 }, () => [0x41, 0x01]).flat()],
      [0xff, 0x0f, ...Array.from({ length: 50_000 }, () => [0x5c, 0x21, 0x00, 0x00]).flat()],
    ]
    for (const payload of payloads) {
      const bytes = Buffer.concat([unended(), record(Buffer.from(payload))])
      expectDamage(await reading(bytes), values.length, String(payload.slice(0, 20)))
    }
  })

  test('a file that is cut off while it is read gives an error', async () => {
    await snapshotState(path, (out) => {
      for (let i = 0; i < 4; i++) out.value(new Uint8Array(1 << 20).fill(i))
    }).done
    const iteration = readValues(path)
    await iteration.next()
    writeFileSync(path, '')
    expect(await rejectionOf(iteration.next())).toMatchObject({
      code: 'ERR_STILLFRAME_CORRUPT',
      message: expect.stringContaining('was truncated'),
    })
  })
})

describe('something else', () => {
  test('an empty file gives no value', async () => {
    expect(await reading(Buffer.alloc(0))).toEqual({ read: [], error: undefined })
  })

  test.each([
    ['a text', 'Dear Sir or Madam,\n'],
    ['a short text', 'a'],
    ['a future version', 'SFV2'.padEnd(100, '\0')],
    ['zeros', '\0'.repeat(1000)],
  ])('%s is no file of values', async (_, text) => {
    const { read, error } = await reading(Buffer.from(text))
    expect(read).toEqual([])
    expect(error).toBeInstanceOf(StillframeError)
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_FORMAT', path })
    expect(error?.message).toMatch(/not a file of values.*Check the path/)
  })

  test('a file that is missing', async () => {
    expect(await rejectionOf(valuesOf(inDirectory('missing')))).toMatchObject({
      code: 'ERR_STILLFRAME_IO',
      errno: -constants.errno.ENOENT,
      syscall: 'open',
      path: inDirectory('missing'),
    })
  })

  // A directory may have any size; some filesystems report 0.
  test.for(['on a disk', 'in memory', '/proc'])('a directory: %s', async (which, context) => {
    let directory = which
    if (which === 'on a disk') directory = inDirectory()
    else if (which === 'in memory') directory = needsMemoryDirectory(context)
    expect(await rejectionOf(valuesOf(directory))).toMatchObject({
      code: 'ERR_STILLFRAME_IO',
      errno: -constants.errno.EISDIR,
    })
  })

  test('a FIFO, without waiting for its writer', async (context) => {
    needsTools(context, 'mkfifo')
    spawnSync('mkfifo', [inDirectory('fifo')])
    expect(await rejectionOf(valuesOf(inDirectory('fifo')))).toMatchObject({
      code: 'ERR_STILLFRAME_FORMAT',
      message: expect.stringContaining('not a regular file'),
    })
  })

  test('a device', async () => {
    expect(await rejectionOf(valuesOf('/dev/zero'))).toMatchObject({
      code: 'ERR_STILLFRAME_FORMAT',
      message: expect.stringContaining('not a regular file'),
    })
  })

  test.each([
    ['nothing', undefined, 'ERR_INVALID_ARG_TYPE'],
    ['a number', 5, 'ERR_INVALID_ARG_TYPE'],
    ['an empty path', '', 'ERR_INVALID_ARG_VALUE'],
    ['a directory by its slash', '/tmp/', 'ERR_INVALID_ARG_VALUE'],
  ])('%s for a path', async (_, given, code) => {
    expect(await rejectionOf(valuesOf(given as string))).toMatchObject({ code })
  })
})

test('who leaves the loop early leaves no open file behind', async () => {
  const open = (): string[] => openDescriptors().filter((line) => line.endsWith(` -> ${path}`))
  for (let i = 0; i < 3; i++) {
    for await (const value of readValues(path)) {
      expect(value).toEqual(values[0])
      expect(open()).toHaveLength(1)
      break
    }
    expect(open()).toEqual([])
  }
  writeFileSync(path, 'something else')
  await rejectionOf(valuesOf(path))
  expect(open()).toEqual([])
})
