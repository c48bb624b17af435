// A table of vectors in two Regions, which are frozen at the same instant.

import { Region } from 'stillframe'

// The first numbers of the region `slots`; the sequence number of each slot follows (0 if it is
// empty).
const sequenceAt = 0
const usedAt = 1
const headLength = 2

export class Table {
  /** Number of floats in a vector. */
  dimensions
  /** Maximum number of vectors. */
  capacity
  /** The regions to capture. */
  regions
  #vectors
  #slots

  constructor(regions, dimensions) {
    this.regions = regions
    this.dimensions = dimensions
    this.#vectors = new Float32Array(regions.vectors.buffer)
    this.#slots = new Float64Array(regions.slots.buffer)
    this.capacity = this.#slots.length - headLength
  }

  /** An empty table that takes at most `byteLength` bytes for its vectors. */
  static allocate(byteLength, dimensions) {
    const capacity = Math.floor(byteLength / (dimensions * Float32Array.BYTES_PER_ELEMENT))
    const vectors = Region.allocate(capacity * dimensions * Float32Array.BYTES_PER_ELEMENT)
    const slots = Region.allocate((headLength + capacity) * Float64Array.BYTES_PER_ELEMENT)
    return new Table({ vectors, slots }, dimensions)
  }

  /** The table of the newest intact frame, or undefined if the archive is new. */
  static async restore(archive, mode) {
    const restored = await archive.restore({ mode }).catch(unlessThereIsNone)
    if (restored === undefined) return undefined
    const { regions, metadata, skipped } = restored
    for (const { number, reason } of skipped) console.error(`frame ${number} is damaged: ${reason}`)
    return new Table(regions, metadata.dimensions)
  }

  /** Number of vectors written so far: incremented by each. */
  get sequence() {
    return this.#slots[sequenceAt]
  }

  /** Number of slots up to the last one in use. */
  get used() {
    return this.#slots[usedAt]
  }

  /** The metadata of a frame. The sequence number is in the captured memory. */
  get metadata() {
    return { dimensions: this.dimensions }
  }

  /**
   * Writes consecutive vectors into the slots from `first` on. Returns the sequence number of the
   * last.
   */
  write(first, vectors) {
    const count = vectors.length / this.dimensions
    if (!Number.isInteger(count) || count === 0) {
      throw new RangeError(`a vector has ${this.dimensions} dimensions`)
    }
    if (!Number.isInteger(first) || first < 0 || first + count > this.capacity) {
      throw new RangeError(`slots go from 0 to ${this.capacity - 1}`)
    }
    this.#vectors.set(vectors, first * this.dimensions)
    for (let slot = first; slot < first + count; slot++) {
      this.#slots[sequenceAt] += 1
      this.#slots[headLength + slot] = this.sequence
    }
    this.#slots[usedAt] = Math.max(this.used, first + count)
    return this.sequence
  }

  /** The vector in a slot and the sequence number of its write; undefined for an empty slot. */
  read(slot) {
    const sequence = this.#slots[headLength + slot]
    return sequence ? { sequence, vector: [...this.#vectorOf(slot)] } : undefined
  }

  /**
   * The `count` nearest vectors by Euclidean distance, nearest first. Examines all of them; other
   * requests can run in between, so it may see some vectors as they were before such a request and
   * some as they are after it.
   */
  async nearest(vector, count) {
    if (vector.length !== this.dimensions) throw new RangeError(`a vector has ${this.dimensions} dimensions`)
    const slotsAtATime = 10_000
    const best = []
    for (let from = 0; from < this.used; from += slotsAtATime) {
      this.#search(vector, from, Math.min(from + slotsAtATime, this.used), best, count)
      await new Promise(setImmediate)
    }
    return best.map(({ slot, squared }) => ({ slot, distance: Math.sqrt(squared) }))
  }

  #search(vector, from, to, best, count) {
    const { dimensions } = this
    const vectors = this.#vectors
    for (let slot = from; slot < to; slot++) {
      if (this.#slots[headLength + slot] === 0) continue
      const limit = best.length < count ? Number.POSITIVE_INFINITY : best[count - 1].squared
      const start = slot * dimensions
      let squared = 0
      for (let i = 0; i < dimensions && squared < limit; i++) {
        const difference = vectors[start + i] - vector[i]
        squared += difference * difference
      }
      if (squared >= limit) continue
      const place = best.findIndex((other) => squared < other.squared)
      best.splice(place < 0 ? best.length : place, 0, { slot, squared })
      if (best.length > count) best.pop()
    }
  }

  #vectorOf(slot) {
    return this.#vectors.subarray(slot * this.dimensions, (slot + 1) * this.dimensions)
  }
}

/** If frames exist but are damaged, the service must not start with an empty table. */
function unlessThereIsNone(error) {
  if (error.code !== 'ERR_STILLFRAME_NOT_FOUND') throw error
}
