/** Long computations stop now and then, so that Ctrl-C is heard. */

import { setImmediate } from 'node:timers/promises'

export class Pauses {
  /** About a tenth of a second. */
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

  /** Calls `step` for the numbers from `from` to below `to`, a part of them at a time. */
  async through(from: number, to: number, step: (from: number, to: number) => void): Promise<void> {
    for (let at = from; at < to; at += this.stepsBetween) {
      step(at, Math.min(to, at + this.stepsBetween))
      await this.take()
    }
  }
}
