/**
 * Files of values, as `StateWriter.value()` writes them: a sequence of records, and a final one
 * that counts them, so that a truncated file is not mistaken for a complete one. A file without
 * values is empty.
 *
 *   file   = [ record… end ]
 *   record = "SFV1" | CRC-32 of the payload, u32 LE | length of the payload, u64 LE | payload
 *   end    = "SFVE" | CRC-32 of the number, u32 LE | number of the records, u64 LE
 *
 * The payload is in V8's format, as `value-reader.ts` describes it: newer versions of Node read
 * what older ones wrote.
 */

import { Buffer } from 'node:buffer'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import process from 'node:process'
import { crc32 } from 'node:zlib'
import { fromSystem, rangeError, StillframeError } from '../base/errors.js'
import { checkPath } from '../base/path.js'
import { checkInteger, checkOptions } from '../base/validate.js'
import { deserializeValue, maxPayloadBytes } from './value-reader.js'

const magic = Buffer.from('SFV1')
const endMagic = Buffer.from('SFVE')
const headLength = 16
/** Node cannot read 2 GiB at once. */
const maxReadBytes = 2 ** 30
const pieceBytes = 2 ** 20

/** @internal The bytes that precede the payload of a value. */
export function encodeHead(payload: Uint8Array): Uint8Array {
  return makeHead(magic, crc32(payload), payload.length)
}

/** @internal The bytes after the last of `count` values. */
export function encodeEnd(count: number): Uint8Array {
  const end = makeHead(endMagic, 0, count)
  end.writeUInt32LE(crc32(end.subarray(8)), 4)
  return end
}

function makeHead(kind: Buffer, sum: number, number: number): Buffer {
  const head = Buffer.alloc(headLength)
  kind.copy(head)
  head.writeUInt32LE(sum, 4)
  head.writeBigUInt64LE(BigInt(number), 8)
  return head
}

/** Options of `readValues()`. */
export interface ReadValuesOptions {
  /**
   * Maximum size of a value in the file, in bytes; an integer >= 1. A longer value is refused with
   * `ERR_OUT_OF_RANGE` before any memory is allocated for it. Default: 4 GiB - 1, the maximum that
   * is ever written. In memory a value may be many times as large: about 100 bytes for each byte of
   * the file if the file is malicious.
   */
  maxValueBytes?: number | undefined
}

/**
 * Reads the values that `out.value()` wrote in `snapshotState()`, one by one, in the order of
 * writing. Each value is checked before it is handed out. `Value`, their type, is asserted by the
 * caller and not checked.
 *
 * @param path - a file that was written with `out.value()` only.
 * @throws StillframeError `ERR_STILLFRAME_FORMAT`: not such a file; `ERR_STILLFRAME_CORRUPT`:
 *   damaged or cut short, with `offset`; `ERR_STILLFRAME_IO`. TypeError, RangeError for wrong
 *   arguments, and for a value that is longer than `maxValueBytes`.
 */
export async function* readValues<Value = unknown>(
  path: string | URL,
  options?: ReadValuesOptions,
): AsyncGenerator<Value, void, undefined> {
  const name = checkPath(path, 'read')
  const { maxValueBytes = maxPayloadBytes } = checkOptions(options, ['maxValueBytes'])
  const budget = checkInteger(maxValueBytes, 'options.maxValueBytes', 1, Number.MAX_SAFE_INTEGER)
  // Without O_NONBLOCK, opening a FIFO would wait for its writer.
  const file = await open(name, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: unknown) => {
    throw fromSystem(error, name)
  })
  try {
    yield* valuesIn<Value>(file, name, budget)
  } finally {
    await file.close()
  }
}

/**
 * @internal Like {@link readValues}, for a file that is already open, and stays open. Several
 * readers may use it at once.
 *
 * @param name - for messages.
 */
export async function* valuesIn<Value>(
  file: FileHandle,
  name: string,
  budget = maxPayloadBytes,
): AsyncGenerator<Value, void, undefined> {
  const about = await file.stat()
  // Reading a directory fails with a clear error; anything else would be mistaken for an empty
  // file.
  if (!about.isFile() && !about.isDirectory()) throw notValues(name, 'this is not a regular file')
  const size = about.isFile() ? about.size : headLength
  const reader = new ReadAhead(file, name, size)
  for (let at = 0, count = 0; at < size; count++) {
    if (size - at < headLength) throw damagedHead(name, at, 'the file ends in the middle of a value')
    const head = await reader.look(at, headLength)
    if (count > 0 && head.subarray(0, endMagic.length).equals(endMagic)) {
      checkEnd(name, at, head, count, size)
      return
    }
    if (!head.subarray(0, magic.length).equals(magic)) throw damagedHead(name, at, 'no value begins here')
    const sum = head.readUInt32LE(4)
    const length = Number(head.readBigUInt64LE(8))
    if (length > size - at - headLength) throw corrupt(name, at, 'the file ends in the middle of a value')
    if (length > maxPayloadBytes) throw corrupt(name, at, 'a value is longer than any that can be checked')
    if (length > budget) {
      throw rangeError(
        `${name}: the value at byte ${at} of the file has ${length} bytes, more than options.maxValueBytes`,
      )
    }
    const payload = await reader.own(at + headLength, length)
    if (crc32(payload) !== sum) throw corrupt(name, at, 'the checksum of a value is wrong')
    yield decode(name, at, payload) as Value
    at += headLength + length
    if (at === size) throw corrupt(name, at, 'the file was truncated after a value')
  }
}

/**
 * Reads a file forward in large pieces, because most values are small and each system call has a
 * cost.
 */
class ReadAhead {
  readonly #file: FileHandle
  readonly #path: string
  readonly #size: number
  #piece: Buffer = Buffer.alloc(0)
  #pieceAt = 0

  constructor(file: FileHandle, path: string, size: number) {
    this.#file = file
    this.#path = path
    this.#size = size
  }

  /** Returns a few bytes, which may share their memory with others. */
  async look(at: number, length: number): Promise<Buffer> {
    if (at + length > this.#pieceAt + this.#piece.length) {
      this.#piece = Buffer.allocUnsafeSlow(Math.min(pieceBytes, this.#size - at))
      this.#pieceAt = at
      await this.#fill(this.#piece, at)
    }
    return this.#piece.subarray(at - this.#pieceAt, at - this.#pieceAt + length)
  }

  /** Returns bytes whose memory is not shared, since typed arrays in values are made of it. */
  async own(at: number, length: number): Promise<Buffer> {
    const bytes = this.#allocate(at, length)
    if (length > pieceBytes) await this.#fill(bytes, at)
    else (await this.look(at, length)).copy(bytes)
    return bytes
  }

  #allocate(at: number, length: number): Buffer {
    try {
      return Buffer.allocUnsafeSlow(length)
    } catch (error) {
      throw corrupt(this.#path, at - headLength, 'a value is longer than memory can hold', error)
    }
  }

  async #fill(bytes: Buffer, at: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const length = Math.min(bytes.length - done, maxReadBytes)
      const { bytesRead } = await this.#file.read(bytes, done, length, at + done).catch((error: unknown) => {
        throw fromSystem(error, this.#path)
      })
      if (bytesRead === 0)
        throw corrupt(this.#path, at + done, 'the file was truncated while it was being read')
      done += bytesRead
    }
  }
}

function checkEnd(path: string, at: number, end: Buffer, count: number, size: number): void {
  if (!end.equals(encodeEnd(count)))
    throw corrupt(path, at, `the file does not end after ${count} values as it should`)
  if (at + headLength < size) throw corrupt(path, at + headLength, 'there is data after the last value')
}

function decode(path: string, at: number, payload: Buffer): unknown {
  try {
    return deserializeValue(payload)
  } catch (error) {
    throw corrupt(path, at, `a value cannot be read by Node ${process.version}`, error)
  }
}

/** At offset 0, the file is more likely to be something else than damaged. */
function damagedHead(path: string, at: number, what: string): StillframeError {
  if (at > 0) return corrupt(path, at, what)
  return notValues(path, 'not a file of values')
}

function notValues(path: string, what: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_FORMAT',
    `${path}: ${what}. Only what out.value() wrote can be read with readValues(). Check the path.`,
    { path },
  )
}

function corrupt(path: string, offset: number, what: string, cause?: unknown): StillframeError {
  return new StillframeError('ERR_STILLFRAME_CORRUPT', `${path}: ${what}, at byte ${offset} of the file`, {
    path,
    offset,
    cause,
  })
}
