/** A stream cut into parts. */

import type { Buffer } from 'node:buffer'
import { storeFailure } from '../store/store.js'
import { untilAborted } from '../store/stream.js'
import type { PartMemory } from './part-memory.js'
import { isPart, partBytes } from './part-size.js'

/** A part of an object. */
export interface Part {
  /** The first is 1. */
  readonly number: number
  /** What is given back to the memory of parts. */
  readonly memory: Buffer
  /** The beginning of `memory`; only the last part is shorter. */
  readonly bytes: Buffer
}

/** All parts of a stream; none of an empty one. A part that is not full is the last. */
export async function* partsOf(
  key: string,
  stream: AsyncIterable<Uint8Array>,
  objectBytes: number | undefined,
  memory: PartMemory,
  signal: AbortSignal,
): AsyncGenerator<Part, void, undefined> {
  let number = 0
  let filling: Buffer | undefined
  let filled = 0
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length; ) {
      if (filling === undefined) {
        number++
        if (!isPart(number)) {
          throw storeFailure(
            key,
            'the stream is too long for an upload without options.size. Pass its length',
          )
        }
        filling = await untilAborted(memory.take(partBytes(number, objectBytes)), signal)
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
