/**
 * Reads the array of strings of a heap snapshot. It creates no JavaScript strings: the consumer
 * gets the raw bytes between the quotes and may decode them.
 */

import { Buffer } from 'node:buffer'
import {
  backslash,
  blank,
  comma,
  isBlank,
  leftBracket,
  type Part,
  quote,
  rightBracket,
  shown,
} from './bytes.js'
import { Malformed } from './malformed.js'

enum State {
  Opening,
  /** After the bracket: a string or the end. */
  First,
  /** After a comma: a string. */
  Next,
  Inside,
  /** After a string: a comma or the end. */
  Behind,
  Closed,
}

/** A string in its encoded form: `bytes` from `start` to `end`, without the quotes. */
export interface RawString {
  bytes: Uint8Array
  start: number
  end: number
  /** False if only the beginning of the string was kept. */
  whole: boolean
  /** Offset of the opening quote in the file. */
  offset: number
}

/** Receives each string with its index. The object is reused for the next string. */
export type TakeString = (index: number, string: RawString) => void

/**
 * Number of bytes to keep of a string that continues in the next chunk. V8 writes the first 1024
 * characters of a string by default.
 */
const maxKeptBytes = 1 << 16

export class StringArray implements Part {
  readonly #take: TakeString
  readonly #string: RawString = { bytes: new Uint8Array(0), start: 0, end: 0, whole: true, offset: 0 }
  #state = State.Opening
  #index = 0
  /** The part of the current string from earlier chunks. */
  #kept: Uint8Array[] = []
  #keptBytes = 0
  /** True if the chunk begins with an escaped character. */
  #escaped = false

  /** @param inside - the bytes begin inside the array, at the start of a string. */
  constructor(take: TakeString, inside = false) {
    this.#take = take
    if (inside) this.#state = State.Next
  }

  get done(): boolean {
    return this.#state === State.Closed
  }

  /** Number of strings that have ended so far. */
  get count(): number {
    return this.#index
  }

  scan(bytes: Uint8Array, from: number, offset: number): number {
    let at = from
    while (at < bytes.length) {
      if (this.#state === State.Inside) {
        at = this.#takeInside(bytes, at, offset)
        continue
      }
      if (this.#state === State.Closed) break
      const byte = bytes[at] as number
      if (byte === quote && (this.#state === State.First || this.#state === State.Next)) {
        this.#state = State.Inside
        this.#string.offset = offset + at
      } else if (byte === comma && this.#state === State.Behind) {
        this.#state = State.Next
      } else if (byte === leftBracket && this.#state === State.Opening) {
        this.#state = State.First
      } else if (byte === rightBracket && (this.#state === State.First || this.#state === State.Behind)) {
        this.#state = State.Closed
      } else if (!isBlank(byte)) {
        throw new Malformed(`there is ${shown(byte)} between the strings`, offset + at)
      }
      at++
    }
    return at
  }

  /** Reads a string, or the part of it that is in this chunk. */
  #takeInside(bytes: Uint8Array, from: number, offset: number): number {
    let at = this.#escaped ? from + 1 : from
    while (at < bytes.length) {
      const byte = bytes[at] as number
      if (byte === quote) break
      if (byte === backslash) at++
      else if (byte < blank) throw new Malformed(`there is ${shown(byte)} inside a string`, offset + at)
      at++
    }
    this.#escaped = at > bytes.length
    if (at >= bytes.length) {
      this.#keep(bytes.subarray(from))
      return bytes.length
    }
    const string = this.#string
    if (this.#keptBytes === 0) {
      string.bytes = bytes
      string.start = from
      string.end = at
      string.whole = true
    } else {
      this.#keep(bytes.subarray(from, at))
      string.bytes = Buffer.concat(this.#kept)
      string.start = 0
      string.end = string.bytes.length
      string.whole = this.#keptBytes === string.end
      this.#kept = []
      this.#keptBytes = 0
    }
    this.#state = State.Behind
    this.#take(this.#index++, string)
    return at + 1
  }

  #keep(bytes: Uint8Array): void {
    const room = Math.max(0, maxKeptBytes - this.#keptBytes)
    // Copies the bytes, since the chunk's memory is reused. (slice() of a Buffer does not copy.)
    if (room > 0) this.#kept.push(new Uint8Array(bytes.subarray(0, room)))
    this.#keptBytes += bytes.length
  }
}

/**
 * Decodes a string. Only its first `maxBytes` are used; an escape that is cut there is omitted.
 *
 * @throws Malformed
 */
export function decodeString({ bytes, start, end, offset }: RawString, maxBytes: number): string {
  const length = Math.min(end - start, maxBytes)
  let literal = Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString('utf8')
  if (length < end - start) {
    // Remove half an escape, or half a character, at the cut.
    literal = literal.replace(/(?<!\\)((?:\\\\)*)\\(?:u[0-9a-f]{0,3})?$/i, '$1').replace(/\ufffd+$/, '')
  }
  try {
    return JSON.parse(`"${literal}"`) as string
  } catch {
    throw new Malformed('a string is not JSON', offset)
  }
}
