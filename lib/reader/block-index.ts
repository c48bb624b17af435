/** The index of a file, which grows while it is read, so that none takes more memory than it has bytes. */

import type { Buffer } from 'node:buffer'
import { type BlockEntry, entrySize, readEntry } from './format.js'

/** Entries of a window. */
export const windowEntries = 16_384

export class BlockIndex {
  readonly #windows: Buffer[] = []

  /** The next entries: a window full, or the last of them. */
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

  /** Entries one behind the other. */
  slice(from: number, to: number): BlockEntry[] {
    return Array.from({ length: to - from }, (_, index) => this.at(from + index))
  }

  /** The first of these whose block is not before this one; they ascend. */
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
