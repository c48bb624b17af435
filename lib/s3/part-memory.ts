/** The memory that parts of one upload wait in until they are on the server. */

import { Buffer } from 'node:buffer'
import { maxBytesInMemory } from './part-size.js'

export class PartMemory {
  /** Given back, of one size: what is freed is not soon collected. */
  #free: Buffer[] = []
  #bytes = 0
  /** Of the one who waits: parts are filled one after the other. */
  #wake: () => void = () => {}

  /** Memory for a part, as soon as there is some. Its content is whatever. */
  async take(bytes: number): Promise<Buffer> {
    while (this.#bytes + bytes > maxBytesInMemory) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#bytes += bytes
    if (this.#free[0]?.length !== bytes) this.#free = []
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(bytes)
  }

  give(memory: Buffer): void {
    this.#free.push(memory)
    this.#bytes -= memory.length
    this.#wake()
  }
}
