/**
 * The clock of a store: the time that it assigns to an object when it is put. Times of objects in
 * the store are compared with nothing else, since the clocks of several machines never agree.
 */

import { Buffer } from 'node:buffer'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { probeKey } from './names.js'
import { toFailure } from './reading.js'
import { backOff, type Surroundings } from './surroundings.js'

/**
 * Stores may truncate times to whole seconds. Each of two compared times can be off by one second.
 */
export const clockSlackMs = 2_000

const attempts = 8

export class StoreClock {
  readonly #store: ObjectStore
  readonly #surroundings: Surroundings
  /** Reused for each reading. */
  readonly #key: string

  constructor(store: ObjectStore, surroundings: Surroundings) {
    this.#store = store
    this.#surroundings = surroundings
    this.#key = probeKey(`clock-${surroundings.nonce()}`)
  }

  /**
   * A time between the call and its completion, in milliseconds. Truncation can make it up to a
   * second earlier.
   */
  async nowMs(): Promise<number> {
    let failure: unknown
    for (let attempt = 0; attempt < attempts; attempt++) {
      if (attempt > 0) await backOff(this.#surroundings, attempt)
      try {
        await this.#store.put(this.#key, Buffer.from('clock'))
        const object = await this.#store.head(this.#key)
        if (object !== undefined) return object.lastModified.getTime()
        // A collection of another writer took the object for an abandoned probe.
        failure = storeFailure(this.#key, 'it was removed in the meantime')
      } catch (error) {
        failure = error
      }
    }
    throw toFailure(failure, this.#key, 'the clock of the store cannot be read')
  }

  async close(): Promise<void> {
    await this.#store.delete(this.#key)
  }
}
