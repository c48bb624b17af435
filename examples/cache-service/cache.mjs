// A cache of JavaScript objects, and the file that it is saved to and loaded from.
//
// The file holds values, as `out.value()` of stillframe/heap writes them: first a head, { sequence, size }, then batches
// of entries, arrays of [key, entry].

import { existsSync } from 'node:fs'
import { readValues } from 'stillframe/heap'

// One value of a million entries would have to be in memory whole, as bytes, on both sides; a value for each entry
// would be mostly overhead.
const entriesInBatch = 1_000

export class Cache {
  /** Writes so far: grows by one with each. */
  sequence = 0
  #entries = new Map()

  /** The cache as it was at the last complete save, or undefined when there is none. */
  static async load(path) {
    if (!existsSync(path)) return undefined
    const values = readValues(path)
    const { value: head } = await values.next()
    const cache = new Cache()
    cache.sequence = head.sequence
    for await (const batch of values) for (const [key, entry] of batch) cache.#entries.set(key, entry)
    if (cache.size !== head.size) throw new Error(`${path} has ${cache.size} entries instead of ${head.size}`)
    return cache
  }

  /** Runs in the forked copy of the process, where nobody changes the cache meanwhile. */
  save(out) {
    out.value({ sequence: this.sequence, size: this.size })
    let batch = []
    for (const pair of this.#entries) {
      batch.push(pair)
      if (batch.length < entriesInBatch) continue
      out.value(batch)
      batch = []
    }
    out.value(batch)
  }

  get size() {
    return this.#entries.size
  }

  /** { value, sequence, storedAt }, or undefined. */
  get(key) {
    return this.#entries.get(key)
  }

  /** Returns the sequence number of the write. */
  set(key, value) {
    this.sequence += 1
    this.#entries.set(key, { value, sequence: this.sequence, storedAt: new Date() })
    return this.sequence
  }

  /** Returns the sequence number of the write; undefined when there was nothing to delete. */
  delete(key) {
    if (!this.#entries.delete(key)) return undefined
    this.sequence += 1
    return this.sequence
  }

  /** So many entries, for something to save. */
  fill(count) {
    for (let i = 0; i < count; i++) {
      this.set(`product-${i}`, {
        id: i,
        name: `Product ${i}`,
        price: (i % 9_973) / 100,
        tags: ['new', 'sale'],
      })
    }
  }
}
