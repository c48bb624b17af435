// A cache of JavaScript objects, and how a frame of it is written and read.
//
// A frame contains the objects as values written by `out.value()`: first a head, { sequence, size
// }, then batches of entries, which are arrays of [key, entry]. It also contains memory, here only
// the sequence number again. Both are from the same instant, and load() checks that: a service with
// large tables in Regions and an index in JavaScript relies on it.

import { Region } from 'stillframe'

// A single value of a million entries would have to be in memory completely, as bytes, on both
// sides; a value for each entry would be mostly overhead.
const entriesInBatch = 1_000

export class Cache {
  /** The memory to capture, besides what save() writes. */
  regions = { counter: Region.allocate(8) }
  /** Number of writes so far: incremented by each write. */
  sequence = 0
  #counter = new Float64Array(this.regions.counter.buffer)
  #entries = new Map()

  /** The cache of the newest intact frame, or undefined if the archive is new. */
  static async load(archive) {
    const cache = new Cache()
    const restored = await archive.restore({ into: cache.regions }).catch(unlessThereIsNone)
    if (restored === undefined) return undefined
    for (const { number, reason } of restored.skipped) console.error(`frame ${number} is damaged: ${reason}`)
    const values = restored.state()
    const { value: head } = await values.next()
    for await (const batch of values) for (const [key, entry] of batch) cache.#entries.set(key, entry)
    restored.close()
    cache.sequence = head.sequence
    const isOneInstant = cache.sequence === cache.#counter[0] && cache.size === head.size
    if (!isOneInstant) throw new Error(`memory and objects of frame ${restored.frame.number} do not agree`)
    return cache
  }

  /**
   * Runs in the forked copy of the process, where nothing changes the cache meanwhile. Regions
   * cannot be read there: they are captured separately.
   */
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

  /** Returns { value, sequence, storedAt }, or undefined. */
  get(key) {
    return this.#entries.get(key)
  }

  /** Returns the sequence number of the write. */
  set(key, value) {
    const sequence = this.#count()
    this.#entries.set(key, { value, sequence, storedAt: new Date() })
    return sequence
  }

  /** Returns the sequence number of the write, or undefined if there was nothing to delete. */
  delete(key) {
    return this.#entries.delete(key) ? this.#count() : undefined
  }

  /** Adds `count` entries, to have something to save. */
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

  #count() {
    this.sequence += 1
    this.#counter[0] = this.sequence
    return this.sequence
  }
}

/** If frames exist but are damaged, the service must not start with an empty cache. */
function unlessThereIsNone(error) {
  if (error.code !== 'ERR_STILLFRAME_NOT_FOUND') throw error
}
