/** Memory for the parts of uploads until they are on the server. */

import { Buffer } from 'node:buffer'
import { maxBytesInMemory } from './part-size.js'

interface Waiter {
  readonly bytes: number
  take(memory: Buffer): void
}

/** The memory shared by all uploads to one store. */
export class PartMemory {
  /**
   * Returned buffers, all of the same size. They are reused because unused buffers are not
   * collected soon.
   */
  #free: Buffer[] = []
  #bytes = 0
  #uploads = 0
  /** In the order in which they are served. */
  readonly #waiters: Waiter[] = []

  /** Creates the share of a new upload, whose `end()` must be called. */
  forUpload(): UploadMemory {
    this.#uploads++
    return new UploadMemory(this)
  }

  /**
   * Resolves to memory for a part as soon as some is available. Its contents are arbitrary.
   *
   * @throws the reason of the signal.
   */
  async take(bytes: number, signal: AbortSignal): Promise<Buffer> {
    signal.throwIfAborted()
    return await new Promise((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
        reject(signal.reason)
        this.#serve()
      }
      const take = (memory: Buffer): void => {
        signal.removeEventListener('abort', onAbort)
        resolve(memory)
      }
      const waiter = { bytes, take }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiters.push(waiter)
      this.#serve()
    })
  }

  give(memory: Buffer): void {
    if (this.#free[0]?.length !== memory.length) this.#free = []
    this.#free.push(memory)
    this.#bytes -= memory.length
    this.#serve()
  }

  /** @param lost - memory that a request may still read: it no longer counts and is not reused. */
  end(lost: Iterable<Buffer>): void {
    for (const { length } of lost) this.#bytes -= length
    this.#uploads--
    if (this.#uploads === 0) this.#free = []
    this.#serve()
  }

  #serve(): void {
    for (let first = this.#waiters[0]; first !== undefined; first = this.#waiters[0]) {
      const { bytes } = first
      if (this.#bytes + bytes > maxBytesInMemory) return
      this.#waiters.shift()
      this.#bytes += bytes
      if (this.#free[0]?.length !== bytes) this.#free = []
      first.take(this.#free.pop() ?? Buffer.allocUnsafeSlow(bytes))
    }
  }
}

/** The memory of one upload. */
export class UploadMemory {
  readonly #all: PartMemory
  readonly #taken = new Set<Buffer>()

  constructor(all: PartMemory) {
    this.#all = all
  }

  async take(bytes: number, signal: AbortSignal): Promise<Buffer> {
    const memory = await this.#all.take(bytes, signal)
    this.#taken.add(memory)
    return memory
  }

  /** Returns memory whose contents are on the server. */
  give(memory: Buffer): void {
    if (this.#taken.delete(memory)) this.#all.give(memory)
  }

  /** Ends the upload. An abandoned request may still read memory that has not been returned. */
  end(): void {
    this.#all.end(this.#taken)
    this.#taken.clear()
  }
}
