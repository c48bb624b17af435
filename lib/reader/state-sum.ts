/** The checksum of a state: what the sums of all pages add up to, in whatever order. */

import { Buffer } from 'node:buffer'
import { pageSize, pagesPerBlock } from './format.js'
import { type Hashes, sumSize } from './hashes.js'
import { areZero } from './zeros.js'

/** Bytes of the sums of a block. */
export const sumsOfBlock = pagesPerBlock * sumSize
const mask = 2n ** 64n - 1n

export class StateSum {
  readonly #hashes: Hashes
  /** What the sum of a block is made of: where it is, and what is in it. */
  readonly #placed = Buffer.alloc(8 + sumsOfBlock)
  #low = 0n
  #high = 0n

  constructor(hashes: Hashes) {
    this.#hashes = hashes
  }

  /** @param sums - of its 64 pages; 0 for one that is zero, or that it does not have. */
  add(section: number, block: number, sums: Uint8Array): void {
    if (areZero(sums)) return
    this.#placed.writeUInt32LE(section, 0)
    this.#placed.writeUInt32LE(block, 4)
    this.#placed.set(sums, 8)
    const sum = Buffer.from(this.#hashes.sum(this.#placed))
    this.#low = (this.#low + sum.readBigUInt64LE(0)) & mask
    this.#high = (this.#high + sum.readBigUInt64LE(8)) & mask
  }

  /** The same from the whole pages of a block. */
  addPages(section: number, block: number, pages: Uint8Array): void {
    const sums = Buffer.alloc(sumsOfBlock)
    for (let page = 0; page * pageSize < pages.length; page++) {
      const bytes = pages.subarray(page * pageSize, (page + 1) * pageSize)
      if (!areZero(bytes)) sums.set(this.#hashes.sum(bytes), page * sumSize)
    }
    this.add(section, block, sums)
  }

  /** As it stands in a trailer. */
  get value(): Buffer {
    const value = Buffer.alloc(sumSize)
    value.writeBigUInt64LE(this.#low, 0)
    value.writeBigUInt64LE(this.#high, 8)
    return value
  }
}
