/** Splits a stream into parts. */

import type { Buffer } from 'node:buffer'
import { storeFailure } from '../store/store.js'
import { bytesOf, FillingStream, LengthCheck, untilAborted } from '../store/stream.js'
import type { UploadMemory } from './part-memory.js'
import { isPart, partBytes } from './part-size.js'

/** A part of an object. */
export interface Part {
  /** Number of the part; the first is 1. */
  readonly number: number
  /** The memory to return to the memory of parts. */
  readonly memory: Buffer
  /** The beginning of `memory`; only the last part is shorter. */
  readonly bytes: Buffer
}

/** The data of an upload. */
export interface Upload {
  readonly key: string
  readonly stream: AsyncIterable<Uint8Array>
  /** Size of the object in bytes, if known. */
  readonly size: number | undefined
  readonly memory: UploadMemory
  readonly signal: AbortSignal
}

/** Yields all parts of a stream, and none for an empty one. A part that is not full is the last. */
export function partsOf(upload: Upload): AsyncGenerator<Part, void, undefined> {
  return upload.stream instanceof FillingStream ? filledParts(upload, upload.stream) : copiedParts(upload)
}

async function* filledParts(upload: Upload, stream: FillingStream): AsyncGenerator<Part, void, undefined> {
  const { key, size, signal } = upload
  const length = new LengthCheck(key, size)
  for (let number = 1; length.bytes !== size; number++) {
    const memory = await memoryFor(upload, number)
    const filled = await untilAborted(stream.fill(memory), signal)
    length.add(filled)
    if (filled > 0) yield { number, memory, bytes: memory.subarray(0, filled) }
    if (filled < memory.length) break
  }
  // Check that the stream does not have more than `size` bytes.
  if (length.bytes === size) length.add(await untilAborted(stream.fill(new Uint8Array(1)), signal))
  length.end()
}

async function* copiedParts(upload: Upload): AsyncGenerator<Part, void, undefined> {
  const { key, stream, size, signal } = upload
  let number = 0
  let filling: Buffer | undefined
  let filled = 0
  for await (const chunk of bytesOf(key, stream, { size, signal })) {
    for (let at = 0; at < chunk.length; ) {
      if (filling === undefined) {
        filling = await memoryFor(upload, ++number)
        filled = 0
      }
      const piece = chunk.subarray(at, at + filling.length - filled)
      filling.set(piece, filled)
      filled += piece.length
      at += piece.length
      if (filled === filling.length) {
        yield { number, memory: filling, bytes: filling }
        filling = undefined
      }
    }
  }
  if (filling !== undefined) yield { number, memory: filling, bytes: filling.subarray(0, filled) }
}

async function memoryFor({ key, size, memory, signal }: Upload, number: number): Promise<Buffer> {
  if (!isPart(number)) {
    throw storeFailure(key, 'the stream is too long for an upload without options.size. Pass its length')
  }
  return await memory.take(partBytes(number, size), signal)
}
