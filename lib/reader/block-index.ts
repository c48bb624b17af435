/**
 * The index of a file. It grows as it is read, so it never takes more memory than the file has
 * bytes.
 */

import type { Buffer } from 'node:buffer'
import { type BlockEntry, entrySize, readEntry } from './format.js'

/** Number of entries in a window. */
export const windowEntries = 16_384

export class BlockIndex {
  readonly #windows: Buffer[] = []

  /** Adds the next entries. All windows but the last are full. */
  add(window: Buffer): void {
    this.#windows.push(window)
  }

  get windows(): readonly Buffer[] {
    return this.#windows
  }

  at(position: number): BlockEntry {
    const window = this.#windows[Math.floor(position / windowEntries)] as Buffer
    return readEntry(window, (position % windowEntries) * entrySize, position)
  }

  /** Returns consecutive entries. */
  slice(from: number, to: number): BlockEntry[] {
    return Array.from({ length: to - from }, (_, index) => this.at(from + index))
  }

  /** Position of the first entry whose block is at least `block`; entries are sorted by block. */
  lowerBound(from: number, to: number, block: number): number {
    let [low, high] = [from, to]
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (this.at(middle).block < block) low = middle + 1
      else high = middle
    }
    return low
  }
}
