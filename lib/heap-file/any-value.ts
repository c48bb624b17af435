/**
 * Reads a value of any kind, and skips it or keeps its text. A skipped value is only checked as far
 * as needed to find its end.
 */

import { Buffer } from 'node:buffer'
import {
  backslash,
  comma,
  isBlank,
  leftBrace,
  leftBracket,
  type Part,
  quote,
  rightBrace,
  rightBracket,
} from './bytes.js'
import { Malformed } from './malformed.js'

/** 1 for the only bytes that matter inside an array or object. */
const structural = new Uint8Array(256)
for (const byte of [quote, leftBracket, rightBracket, leftBrace, rightBrace]) structural[byte] = 1

export class AnyValue implements Part {
  readonly #maxKept: number
  readonly #kept: Uint8Array[] = []
  #keptBytes = 0
  #depth = 0
  #begun = false
  #inString = false
  #escaped = false
  done = false

  /**
   * @param maxKept - maximum length; a longer value is malformed. 0: keep nothing and accept any
   *   length.
   */
  constructor(maxKept = 0) {
    this.#maxKept = maxKept
  }

  /** The text of the value, once it is done. */
  get text(): string {
    return Buffer.concat(this.#kept).toString('utf8')
  }

  scan(bytes: Uint8Array, from: number, offset: number): number {
    const end = this.#findEnd(bytes, from)
    if (this.#maxKept > 0) {
      this.#keptBytes += end - from
      if (this.#keptBytes > this.#maxKept) {
        throw new Malformed(`more than ${this.#maxKept} bytes of header`, offset + from)
      }
      // Copies the bytes, since the chunk's memory is reused. (slice() of a Buffer does not copy.)
      this.#kept.push(new Uint8Array(bytes.subarray(from, end)))
    }
    return end
  }

  #findEnd(bytes: Uint8Array, from: number): number {
    let at = from
    while (at < bytes.length) {
      if (this.#inString) at = this.#skipString(bytes, at)
      else {
        if (this.#depth > 0) {
          while (at < bytes.length && structural[bytes[at] as number] === 0) at++
          if (at === bytes.length) return at
        }
        const byte = bytes[at] as number
        const closes = byte === rightBracket || byte === rightBrace
        // A number or word ends before the byte that follows it.
        if (this.#begun && this.#depth === 0 && (closes || byte === comma || isBlank(byte))) {
          this.done = true
          return at
        }
        at++
        if (byte === quote) this.#inString = true
        else if (byte === leftBracket || byte === leftBrace) this.#depth++
        else if (closes) this.#depth--
        if (!isBlank(byte)) this.#begun = true
        if (closes && this.#depth <= 0) {
          this.done = true
          return at
        }
      }
      if (this.done) return at
    }
    return at
  }

  #skipString(bytes: Uint8Array, from: number): number {
    let at = this.#escaped ? from + 1 : from
    while (at < bytes.length) {
      const byte = bytes[at] as number
      if (byte === quote) {
        this.#inString = false
        this.#escaped = false
        if (this.#depth === 0) this.done = true
        return at + 1
      }
      at += byte === backslash ? 2 : 1
    }
    this.#escaped = at > bytes.length
    return bytes.length
  }
}
