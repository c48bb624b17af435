/** The outermost object of a heap snapshot: passes the bytes of each member to its reader. */

import { AnyValue } from './any-value.js'
import { colon, comma, isBlank, leftBrace, type Part, quote, rightBrace, shown } from './bytes.js'
import { Malformed, NotAHeapSnapshot } from './malformed.js'

enum State {
  Opening,
  /** After the brace: a key or the end. */
  First,
  /** After a comma: a key. */
  NextKey,
  Key,
  /** After a key. */
  Colon,
  Value,
  /** After a value. */
  Behind,
  Closed,
}

/** Maximum length of a key. V8's longest is `trace_function_infos`. */
const maxKeyBytes = 256

/** @returns the reader of the member `key`, whose value begins at or after `offset`. */
export type OpenMember = (key: string, offset: number) => Part

export class JsonObject {
  readonly #open: OpenMember
  readonly #seen = new Set<string>()
  #state = State.Opening
  #key = ''
  #part: Part | undefined

  constructor(open: OpenMember) {
    this.#open = open
  }

  /** Reads the next chunk, whose first byte is at `offset` in the file. */
  scan(bytes: Uint8Array, offset: number): void {
    let at = 0
    while (at < bytes.length) {
      if (this.#part !== undefined) {
        at = this.#part.scan(bytes, at, offset)
        if (this.#part.done) this.#partIsDone(offset + at)
        continue
      }
      const byte = bytes[at] as number
      if (byte === quote && (this.#state === State.First || this.#state === State.NextKey)) {
        this.#part = new AnyValue(maxKeyBytes)
        this.#state = State.Key
        continue
      }
      at++
      if (isBlank(byte)) continue
      if (byte === leftBrace && this.#state === State.Opening) this.#state = State.First
      else if (byte === colon && this.#state === State.Colon) {
        this.#state = State.Value
        this.#part = this.#open(this.#key, offset + at)
      } else if (byte === comma && this.#state === State.Behind) this.#state = State.NextKey
      else if (byte === rightBrace && (this.#state === State.Behind || this.#state === State.First)) {
        this.#state = State.Closed
      } else if (this.#state === State.Opening) {
        throw new NotAHeapSnapshot('it does not begin like one')
      } else {
        const where = this.#state === State.Closed ? 'after the end' : `after "${this.#key}"`
        throw new Malformed(`there is ${shown(byte)} ${where}`, offset + at - 1)
      }
    }
  }

  /** Marks the end of the file, at `offset`. */
  end(offset: number): void {
    if (this.#state === State.Closed) return
    const where = this.#key === '' ? 'in its first bytes' : `in "${this.#key}"`
    throw new Malformed(`the file is truncated: it ends ${where}, at byte ${offset}`, offset)
  }

  has(key: string): boolean {
    return this.#seen.has(key)
  }

  #partIsDone(offset: number): void {
    if (this.#state === State.Key) {
      this.#key = parsedKey((this.#part as AnyValue).text, offset)
      if (this.#seen.has(this.#key)) throw new Malformed(`"${this.#key}" occurs twice`, offset)
      if (this.#seen.size > 1000) throw new Malformed('it has more than a thousand members', offset)
      this.#seen.add(this.#key)
      this.#state = State.Colon
    } else this.#state = State.Behind
    this.#part = undefined
  }
}

function parsedKey(text: string, offset: number): string {
  try {
    return String(JSON.parse(text))
  } catch {
    throw new Malformed('a member has no name', offset)
  }
}
