/** Interrupts long computations now and then, so that Ctrl-C takes effect. */

import { setImmediate } from 'node:timers/promises'

export class Pauses {
  /** Steps from one pause to the next: about a tenth of a second. */
  readonly stepsBetween = 1 << 20
  readonly #signal: AbortSignal | undefined

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal
  }

  /** @throws the signal's reason. */
  async take(): Promise<void> {
    await setImmediate()
    this.#signal?.throwIfAborted()
  }

  /**
   * Calls `step` for consecutive parts of the range from `from` (inclusive) to `to` (exclusive).
   */
  async through(from: number, to: number, step: (from: number, to: number) => void): Promise<void> {
    for (let at = from; at < to; at += this.stepsBetween) {
      step(at, Math.min(to, at + this.stepsBetween))
      await this.take()
    }
  }
}
