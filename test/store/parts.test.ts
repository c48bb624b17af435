/**
 * Promise: the parts of an upload are the bytes of its stream, however the stream is read, and a
 * stream of unexpected length is refused.
 *
 * Proved with streams around the length of a part.
 */

import { expect, test } from 'vitest'
import { PartMemory } from '../../lib/s3/part-memory.js'
import { partsOf } from '../../lib/s3/parts.js'
import { FillingStream } from '../../lib/store/stream.js'
import { rejectionOf } from '../support/expect-error.js'
import { Random } from '../support/random.mjs'

const partBytes = 8 * 2 ** 20
const { signal } = new AbortController()

/** A stream of these bytes, which records the length of each memory that it is asked to fill. */
class Bytes extends FillingStream {
  readonly asked: number[] = []
  #at = 0

  constructor(readonly bytes: Buffer) {
    super()
  }

  override async fill(memory: Uint8Array): Promise<number> {
    this.asked.push(memory.length)
    const piece = this.bytes.subarray(this.#at, this.#at + memory.length)
    memory.set(piece)
    this.#at += piece.length
    return piece.length
  }
}

/** The same bytes as an ordinary stream, in pieces that do not end at the borders of parts. */
async function* inPieces(stream: Bytes): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < stream.bytes.length; at += 3_000_001) yield stream.bytes.subarray(at, at + 3_000_001)
}

const ways = { filled: (stream: Bytes) => stream, copied: inPieces }

async function partsFrom(stream: AsyncIterable<Uint8Array>, size: number | undefined) {
  const memory = new PartMemory().forUpload()
  const parts: { number: number; bytes: Buffer }[] = []
  for await (const part of partsOf({ key: 'k', stream, size, memory, signal })) {
    parts.push({ number: part.number, bytes: Buffer.from(part.bytes) })
    memory.give(part.memory)
  }
  return parts
}

function made(length: number): Bytes {
  const bytes = Buffer.alloc(length)
  new Random(length).fill(bytes)
  return new Bytes(bytes)
}

const lengths = [0, 1, partBytes - 1, partBytes, partBytes + 1, 3 * partBytes]

for (const [name, way] of Object.entries(ways)) {
  test.each(lengths)(`${name}: parts of %i bytes`, async (length) => {
    for (const size of [length, undefined]) {
      const stream = made(length)
      const parts = await partsFrom(way(stream), size)
      expect(parts.map(({ number }) => number)).toEqual(parts.map((_, index) => index + 1))
      expect(parts.slice(0, -1).every(({ bytes }) => bytes.length === partBytes)).toBe(true)
      expect(parts.length).toBe(Math.ceil(length / partBytes))
      expect(Buffer.compare(Buffer.concat(parts.map(({ bytes }) => bytes)), stream.bytes)).toBe(0)
    }
  })

  test.each(lengths)(`${name}: a stream of another length than %i bytes is refused`, async (size) => {
    const longer = await rejectionOf(partsFrom(way(made(size + 1)), size))
    expect([longer.code, longer.message]).toEqual([
      'ERR_STILLFRAME_IO',
      `Object 'k': the stream has more than the ${size} bytes of options.size`,
    ])
    const shorter = await rejectionOf(partsFrom(way(made(size)), size + 1))
    expect(shorter.message).toContain(`has ended after ${size} of the ${size + 1} bytes`)
  })
}

test('no memory is taken to find the end of a stream of known length', async () => {
  const stream = made(2 * partBytes)
  await partsFrom(stream, 2 * partBytes)
  expect(stream.asked).toEqual([partBytes, partBytes, 1])
})
