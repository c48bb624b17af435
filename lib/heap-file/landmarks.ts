/**
 * Offsets of one in some hundred records or strings of the file. The few that are needed at the end
 * are read again from there, so the others need not be kept.
 */

import { GrowingFloat64 } from './growing.js'
import { NumberArray } from './number-array.js'
import type { Source } from './source.js'
import { decodeString, StringArray } from './string-array.js'

/** Few enough records to read again quickly, enough to make the landmarks small. */
export const recordsBetween = 512
const stringsBetween = 128

export class RecordLandmarks {
  readonly #length: number
  readonly #offsets = new GrowingFloat64()

  /** @param length - number of fields of a record. */
  constructor(length: number) {
    this.#length = length
  }

  /**
   * Adds the offset at or after which the next {@link recordsBetween} records begin. The first
   * offset is that of the whole array.
   */
  add(offset: number): void {
    this.#offsets.push(offset)
  }

  /** Passes the records from `first` (inclusive) to `end` (exclusive) to `take`. */
  async read(
    source: Source,
    first: number,
    end: number,
    take: (numbers: Float64Array, at: number, record: number) => void,
  ): Promise<void> {
    const landmark = Math.floor(first / recordsBetween)
    let record = landmark * recordsBetween
    const array = new NumberArray(
      this.#length,
      (numbers) => {
        if (record >= first && record < end) take(numbers, 0, record)
        record++
      },
      landmark > 0,
    )
    await source.readFrom(this.#offsets.at(landmark), array, () => record >= end)
  }
}

export class StringLandmarks {
  readonly #offsets = new GrowingFloat64()

  add(index: number, offset: number): void {
    if (index % stringsBetween === 0) this.#offsets.push(offset)
  }

  /** Reads the first `maxBytes` of a string. */
  async read(source: Source, index: number, maxBytes: number): Promise<string> {
    const landmark = Math.floor(index / stringsBetween)
    let text: string | undefined
    const array = new StringArray((at, string) => {
      if (landmark * stringsBetween + at === index) text = decodeString(string, maxBytes)
    }, true)
    await source.readFrom(this.#offsets.at(landmark), array, () => text !== undefined)
    return text ?? ''
  }
}
