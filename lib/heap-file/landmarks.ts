/**
 * Where in the file records and strings stand, of one in some hundreds the offset: whatever is needed of
 * a few of them in the end is read once more, and need not be kept of all.
 */

import { GrowingFloat64 } from './growing.js'
import { NumberArray } from './number-array.js'
import type { Source } from './source.js'
import { decodeString, StringArray } from './string-array.js'

/** Few enough to be read again in no time, many enough to take no memory. */
export const recordsBetween = 512
const stringsBetween = 128

export class RecordLandmarks {
  readonly #length: number
  readonly #offsets = new GrowingFloat64()

  /** @param length - numbers in a record. */
  constructor(length: number) {
    this.#length = length
  }

  /** The next {@link recordsBetween} begin at `offset`, or behind it; the first ones with their array. */
  add(offset: number): void {
    this.#offsets.push(offset)
  }

  /** Hands the records from `first` to below `end` to `take`. */
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

  /** The first `maxBytes` of a string. */
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
