/** Forwards a forked copy's output from a pipe to the caller's stream, without a file. */

import type { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { isError } from '../base/errors.js'

/** True for a Writable of any realm, or a compatible object. */
export function isWritable(value: unknown): value is Writable {
  const { write, end, once: listen } = (typeof value === 'object' && value ? value : {}) as Partial<Writable>
  return typeof write === 'function' && typeof end === 'function' && typeof listen === 'function'
}

/** @internal */
export class StreamTarget {
  readonly #into: Writable
  /** Settles when the stream has finished, failed or been closed. */
  readonly #closed: Promise<void>
  /**
   * Aborted when `#closed` settles, to end a wait for another event. Waits on `#closed` itself
   * would accumulate: each reaction to a promise is kept until the promise settles.
   */
  readonly #gone = new AbortController()
  /** Resolves when all output from the pipe has been passed to the stream. */
  #poured: Promise<void> = Promise.resolve()

  constructor(into: Writable) {
    this.#into = into
    this.#closed = finished(into, { readable: false })
    const tell = (): void => this.#gone.abort()
    this.#closed.then(tell, tell)
  }

  /**
   * Starts forwarding from the pipe. `onFailure` is called if the stream does not accept the data.
   */
  begin(descriptor: number, onFailure: (error: unknown) => void): void {
    const pipe = new Socket({ fd: descriptor, readable: true, writable: false })
    this.#poured = this.#pour(pipe)
    this.#poured.catch(onFailure)
  }

  async #pour(pipe: Socket): Promise<void> {
    for await (const chunk of pipe as AsyncIterable<Buffer>) {
      if (this.#into.destroyed || this.#into.writableEnded) await this.#refusal()
      if (!this.#into.write(chunk)) await this.#drained()
    }
  }

  async #drained(): Promise<void> {
    try {
      await once(this.#into, 'drain', { signal: this.#gone.signal })
    } catch {
      await this.#refusal()
    }
  }

  /** Rejects as soon as the stream has failed or was closed by other code. */
  async #refusal(): Promise<never> {
    await this.#closed
    throw new Error('the stream was closed before all was written')
  }

  /** Resolves when the stream has received all data and has been ended. */
  async finish(): Promise<void> {
    await this.#poured
    this.#into.end()
    await this.#closed
  }

  /** Destroys the stream, so that partial output is not mistaken for the whole. */
  fail(reason: unknown): void {
    this.#into.destroy(isError(reason) ? reason : undefined)
  }
}
