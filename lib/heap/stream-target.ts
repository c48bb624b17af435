/** A stream of the caller's that a forked copy's output goes to, by way of a pipe and without a file. */

import type { Buffer } from 'node:buffer'
import { once } from 'node:events'
import { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { isError } from '../base/errors.js'

/** A Writable of any realm, or a faithful imitation. */
export function isWritable(value: unknown): value is Writable {
  const { write, end, once: listen } = (typeof value === 'object' && value ? value : {}) as Partial<Writable>
  return typeof write === 'function' && typeof end === 'function' && typeof listen === 'function'
}

/** @internal */
export class StreamTarget {
  readonly #into: Writable
  /** Settles when the stream takes nothing any more. */
  readonly #closed: Promise<void>
  /** Aborted then, for those who wait for something else: each reaction to a promise stays until it settles. */
  readonly #gone = new AbortController()
  /** All that has come from the pipe has been handed on. */
  #poured: Promise<void> = Promise.resolve()

  constructor(into: Writable) {
    this.#into = into
    this.#closed = finished(into, { readable: false })
    const tell = (): void => this.#gone.abort()
    this.#closed.then(tell, tell)
  }

  /** Hands on what comes from the pipe. `onFailure` is called if the stream does not take it. */
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

  /** Rejects as soon as the stream has failed, or was closed by somebody else. */
  async #refusal(): Promise<never> {
    await this.#closed
    throw new Error('the stream was closed before all was written')
  }

  /** Resolves when the stream has everything, and has been ended. */
  async finish(): Promise<void> {
    await this.#poured
    this.#into.end()
    await this.#closed
  }

  /** So that nobody takes what the stream has got for the whole. */
  fail(reason: unknown): void {
    this.#into.destroy(isError(reason) ? reason : undefined)
  }
}
