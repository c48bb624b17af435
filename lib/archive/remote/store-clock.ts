/**
 * The clock of a store: what it writes beside an object that was just put. Objects of the store are compared with nothing else,
 * since the clocks of several machines never agree.
 */

import { Buffer } from 'node:buffer'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { probeKey } from './names.js'
import { toFailure } from './reading.js'
import { backOff, type Surroundings } from './surroundings.js'

/** Stores tell times in whole seconds: of two of them, each may be cut by one. */
export const clockSlackMs = 2_000

const attempts = 8

export class StoreClock {
  readonly #store: ObjectStore
  readonly #surroundings: Surroundings
  /** The same one each time. */
  readonly #key: string

  constructor(store: ObjectStore, surroundings: Surroundings) {
    this.#store = store
    this.#surroundings = surroundings
    this.#key = probeKey(`clock-${surroundings.nonce()}`)
  }

  /** A time between the call and its end, in ms; cut, and so perhaps up to a second before. */
  async nowMs(): Promise<number> {
    let failure: unknown
    for (let attempt = 0; attempt < attempts; attempt++) {
      if (attempt > 0) await backOff(this.#surroundings, attempt)
      try {
        await this.#store.put(this.#key, Buffer.from('clock'))
        const object = await this.#store.head(this.#key)
        if (object !== undefined) return object.lastModified.getTime()
        // A collection of another writer has taken it for one that was left.
        failure = storeFailure(this.#key, 'it was removed meanwhile')
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
