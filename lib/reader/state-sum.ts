/** The checksum of a state, which adds up the sums of all pages, in any order. */

import { Buffer } from 'node:buffer'
import { pageSize, pagesPerBlock } from './format.js'
import { type Hashes, sumSize } from './hashes.js'
import { areZero } from './zeros.js'

/** Size of the sums of a block, in bytes. */
export const sumsOfBlock = pagesPerBlock * sumSize
const mask = 2n ** 64n - 1n

export class StateSum {
  readonly #hashes: Hashes
  /** Input of the sum of a block: its position, and the sums of its pages. */
  readonly #placed = Buffer.alloc(8 + sumsOfBlock)
  #low = 0n
  #high = 0n

  constructor(hashes: Hashes) {
    this.#hashes = hashes
  }

  /**
   * @param sums - the sums of the block's 64 pages; 0 for a page that is zero or beyond the
   *   section.
   */
  add(section: number, block: number, sums: Uint8Array): void {
    if (areZero(sums)) return
    this.#placed.writeUInt32LE(section, 0)
    this.#placed.writeUInt32LE(block, 4)
    this.#placed.set(sums, 8)
    const sum = Buffer.from(this.#hashes.sum(this.#placed))
    this.#low = (this.#low + sum.readBigUInt64LE(0)) & mask
    this.#high = (this.#high + sum.readBigUInt64LE(8)) & mask
  }

  /** Adds a block, given its whole pages. */
  addPages(section: number, block: number, pages: Uint8Array): void {
    const sums = Buffer.alloc(sumsOfBlock)
    for (let page = 0; page * pageSize < pages.length; page++) {
      const bytes = pages.subarray(page * pageSize, (page + 1) * pageSize)
      if (!areZero(bytes)) sums.set(this.#hashes.sum(bytes), page * sumSize)
    }
    this.add(section, block, sums)
  }

  /** The sum in the encoding of the trailer. */
  get value(): Buffer {
    const value = Buffer.alloc(sumSize)
    value.writeBigUInt64LE(this.#low, 0)
    value.writeBigUInt64LE(this.#high, 8)
    return value
  }
}
