// Saves a cache every few seconds, for as long as the service runs.

import { snapshotState } from 'stillframe/heap'

export class Saves {
  /** How many have been completed. */
  completed = 0
  /** The last one that was completed: { sequence, pauseMs, durationMs, fileSize, attempts }. */
  last
  #cache
  #path
  #savedSequence
  #running
  #timer

  /** @param savedSequence - of the save that the cache comes from; 0 when it is new. */
  constructor(cache, path, everyMs, savedSequence) {
    this.#cache = cache
    this.#path = path
    this.#savedSequence = savedSequence
    this.#timer = setInterval(() => this.#saveIfChanged(), everyMs)
  }

  /** The progress of the one that runs; undefined when none does. */
  get progress() {
    return this.#running?.progress
  }

  /** No more of them; one last, of the cache as it is now. */
  async end() {
    clearInterval(this.#timer)
    await this.#running?.done.catch(() => {})
    await this.#saveIfChanged()
  }

  /** The file is replaced when the new one is complete: whatever happens, there is always a complete one. */
  async #saveIfChanged() {
    if (this.#running !== undefined || this.#cache.sequence === this.#savedSequence) return
    try {
      let { sequence } = this.#cache
      this.#running = snapshotState(this.#path, (out) => this.#cache.save(out))
      const { pauseMs, durationMs, fileSize, attempts } = await this.#running.done
      // A copy that had to be made a second time is of a later instant: then it is not known which write was its last.
      if (attempts > 1) sequence = undefined
      this.last = { sequence, pauseMs, durationMs, fileSize, attempts }
      this.#savedSequence = sequence
      this.completed++
    } catch (error) {
      // The service goes on, with the last complete save; the next turn tries again.
      console.error(`save failed: ${error.message}`)
    } finally {
      this.#running = undefined
    }
  }
}
