// Saves a table every few seconds, for as long as the service runs.

import { snapshot } from 'stillframe'

export class Snapshots {
  /** How many have been completed. */
  completed = 0
  /** The last one that was completed: { id, sequence, durationMs, pauseMs }. */
  last
  #table
  #path
  #savedSequence
  #running
  #timer

  /** @param savedSequence - of the snapshot that the table comes from; 0 when it is new. */
  constructor(table, path, everyMs, savedSequence) {
    this.#table = table
    this.#path = path
    this.#savedSequence = savedSequence
    this.#timer = setInterval(() => this.#saveIfChanged(), everyMs)
  }

  /** The progress of the one that runs; undefined when none does. */
  get progress() {
    return this.#running?.progress
  }

  /** No more of them; one last, of the table as it is now. */
  async end() {
    clearInterval(this.#timer)
    await this.#running?.done.catch(() => {})
    await this.#saveIfChanged()
  }

  /** The file is replaced when the new one is complete: whatever happens, there is always a complete one. */
  async #saveIfChanged() {
    const { sequence, metadata, regions } = this.#table
    if (this.#running !== undefined || sequence === this.#savedSequence) return
    try {
      this.#running = snapshot(regions, this.#path, { metadata })
      const { id, durationMs, pauseMs } = await this.#running.done
      this.last = { id, sequence, durationMs, pauseMs }
      this.#savedSequence = sequence
      this.completed++
    } catch (error) {
      // The service goes on, with the last complete snapshot; the next turn tries again.
      console.error(`snapshot failed: ${error.message}`)
    } finally {
      this.#running = undefined
    }
  }
}
