/**
 * Reads arrays of integers, which make up most of a heap snapshot: `[9,1,1,0,5,…]`. A short loop
 * reads the format that V8 writes. Everything else (blanks, the end of a chunk, damage) is left to
 * a state machine that reads byte by byte and knows the whole grammar.
 */

import { comma, isBlank, leftBracket, newline, nine, type Part, rightBracket, shown, zero } from './bytes.js'
import { Malformed } from './malformed.js'

enum State {
  /** Before the bracket. */
  Opening,
  /** After the bracket: a number or the end. */
  First,
  /** After a comma: a number. */
  Next,
  /** Inside a number. */
  Digits,
  /** After a number: a comma or the end. */
  Behind,
  Closed,
}

/** Upper bound, in bytes, for a number below 2^53 with a line break on either side and a comma. */
const longestNumber = 24

/**
 * Receives a batch: the first `count` elements of `numbers`, and the file offset of the next batch.
 */
export type TakeNumbers = (numbers: Float64Array, count: number, next: number) => void

export class NumberArray implements Part {
  readonly #batch: Float64Array
  readonly #take: TakeNumbers
  #count = 0
  #state = State.Opening
  #value = 0
  #offset = 0

  /**
   * @param batchLength - length of each batch but the last.
   * @param inside - the bytes begin inside the array, at the start of a number.
   */
  constructor(batchLength: number, take: TakeNumbers, inside = false) {
    this.#batch = new Float64Array(batchLength)
    this.#take = take
    if (inside) this.#state = State.Next
  }

  get done(): boolean {
    return this.#state === State.Closed
  }

  scan(bytes: Uint8Array, from: number, offset: number): number {
    this.#offset = offset
    let at = from
    while (at < bytes.length && this.#state !== State.Closed) {
      if (this.#state === State.Next) at = this.#takeWhole(bytes, at)
      if (at < bytes.length) this.#takeByte(bytes[at] as number, at++)
    }
    return at
  }

  /** Reads numbers with the comma after them, as long as they are in V8's format. */
  #takeWhole(bytes: Uint8Array, from: number): number {
    const batch = this.#batch
    const end = bytes.length - longestNumber
    let count = this.#count
    let at = from
    while (at < end) {
      let i = at
      let byte = bytes[i] as number
      if (byte === newline) byte = bytes[++i] as number
      let value = byte - zero
      if (value < 0 || value > 9) break
      byte = bytes[++i] as number
      if (value !== 0) {
        while (byte >= zero && byte <= nine) {
          value = value * 10 + (byte - zero)
          byte = bytes[++i] as number
        }
      }
      if (byte === newline) byte = bytes[++i] as number
      if (byte !== comma || value > Number.MAX_SAFE_INTEGER) break
      at = i + 1
      batch[count++] = value
      if (count === batch.length) {
        this.#take(batch, count, this.#offset + at)
        count = 0
      }
    }
    this.#count = count
    return at
  }

  #takeByte(byte: number, at: number): void {
    const digit = byte >= zero && byte <= nine
    switch (this.#state) {
      case State.Opening:
        if (byte === leftBracket) this.#state = State.First
        else if (!isBlank(byte)) this.#refuse('where an array of numbers should begin', byte, at)
        break
      case State.First:
      case State.Next:
        if (digit) {
          this.#value = byte - zero
          this.#state = State.Digits
        } else if (byte === rightBracket && this.#state === State.First) {
          this.#close(at)
        } else if (!isBlank(byte)) {
          this.#refuse('where a whole number should begin', byte, at)
        }
        break
      case State.Digits:
        if (!digit) {
          this.#batch[this.#count++] = this.#value
          this.#state = State.Behind
          this.#takeByte(byte, at)
          break
        }
        if (this.#value === 0) this.#refuse('after a leading zero', byte, at)
        this.#value = this.#value * 10 + (byte - zero)
        if (this.#value > Number.MAX_SAFE_INTEGER) {
          throw new Malformed('a number is larger than any that a heap snapshot holds', this.#offset + at)
        }
        break
      case State.Behind:
        if (byte === comma) {
          this.#state = State.Next
          if (this.#count === this.#batch.length) this.#flush(at)
        } else if (byte === rightBracket) {
          this.#close(at)
        } else if (!isBlank(byte)) {
          this.#refuse('after a whole number', byte, at)
        }
        break
      case State.Closed:
        break
    }
  }

  #close(at: number): void {
    this.#state = State.Closed
    if (this.#count > 0) this.#flush(at)
  }

  #flush(at: number): void {
    this.#take(this.#batch, this.#count, this.#offset + at + 1)
    this.#count = 0
  }

  #refuse(where: string, byte: number, at: number): never {
    throw new Malformed(`there is ${shown(byte)} ${where}`, this.#offset + at)
  }
}
