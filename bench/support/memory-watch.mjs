// Observes the memory of a process and of its forked children from outside, many times per second.
import { proportionalBytes } from './proc-memory.mjs'

const LOOK_EVERY_MS = 50

export class MemoryWatch {
  /** `[ms since begin(), bytes above the resting memory]` */
  samples = []
  /** The reason why nothing could be observed. */
  error
  #pid
  #beside
  #restingBytes
  #startedAt
  #timer

  /** `beside()` may name one more process that is not a child of the first one. */
  constructor(pid, beside = () => undefined) {
    this.#pid = pid
    this.#beside = beside
    this.#restingBytes = this.#bytes() ?? 0
  }

  begin() {
    this.#startedAt = performance.now()
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS)
  }

  end() {
    clearInterval(this.#timer)
    return {
      samples: this.samples,
      peakBytes:
        this.error === undefined ? Math.max(0, ...this.samples.map(([, bytes]) => bytes)) : undefined,
    }
  }

  #look() {
    const at = performance.now() - this.#startedAt
    const bytes = this.#bytes()
    if (bytes !== undefined) this.samples.push([at, bytes - this.#restingBytes])
  }

  #bytes() {
    try {
      const other = this.#beside()
      const more = other === undefined ? 0 : proportionalBytes(other)
      const own = proportionalBytes(this.#pid)
      return own === undefined || more === undefined ? undefined : own + more
    } catch (error) {
      this.error ??= error
      return undefined
    }
  }
}
