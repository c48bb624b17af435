/** The memory that parts of uploads wait in until they are on the server. */

import { Buffer } from 'node:buffer'
import { maxBytesInMemory } from './part-size.js'

interface Waiter {
  readonly bytes: number
  take(memory: Buffer): void
}

/** What all uploads into one store have together. */
export class PartMemory {
  /** Given back, of one size: what is freed is not soon collected. */
  #free: Buffer[] = []
  #bytes = 0
  #uploads = 0
  /** Served in this order. */
  readonly #waiters: Waiter[] = []

  /** For an upload that begins. Its end has to be told. */
  forUpload(): UploadMemory {
    this.#uploads++
    return new UploadMemory(this)
  }

  /** Memory for a part, as soon as there is some. Its content is whatever. @throws the reason of the signal. */
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

  /** @param lost - memory that somebody may still read: its bytes count no more, and nobody else gets it. */
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

/** The part of it that one upload has. */
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

  /** What is in it is on the server. */
  give(memory: Buffer): void {
    if (this.#taken.delete(memory)) this.#all.give(memory)
  }

  /** The upload is over. A request that was given up may still read what has not been given back. */
  end(): void {
    this.#all.end(this.#taken)
    this.#taken.clear()
  }
}
