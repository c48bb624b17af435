/** The checksums of the format: XXH3-64 and XXH3-128, with seed 0. */

import { createXXHash3, createXXHash128 } from 'hash-wasm'

type Hasher = Awaited<ReturnType<typeof createXXHash3>>

/** Size of a sum in bytes. */
export const sumSize = 16

/**
 * Loaded once, since both are compiled from WebAssembly. One instance of each is enough, since each
 * use is synchronous.
 */
export class Hashes {
  readonly #short: Hasher
  readonly #long: Hasher

  private constructor(short: Hasher, long: Hasher) {
    this.#short = short
    this.#long = long
  }

  static async load(): Promise<Hashes> {
    return new Hashes(await createXXHash3(), await createXXHash128())
  }

  /** Returns the checksum of the concatenated pieces. */
  checksum(...pieces: readonly Uint8Array[]): bigint {
    this.#short.init()
    for (const piece of pieces) this.#short.update(piece)
    return numberOf(this.#short.digest('binary'))
  }

  /**
   * Returns an incremental checksum, which allows other uses of this object between its updates.
   */
  running(): { update(piece: Uint8Array): void; value(): bigint } {
    const hasher = this.#short
    let state = hasher.init().save()
    return {
      update(piece) {
        state = hasher.load(state).update(piece).save()
      },
      value: () => numberOf(hasher.load(state).digest('binary')),
    }
  }

  /** Returns the sum of some bytes in its encoding in a file: 16 bytes, low half first. */
  sum(bytes: Uint8Array): Uint8Array {
    return this.#long.init().update(bytes).digest('binary').reverse()
  }
}

/** Digests are big-endian. */
function numberOf(digest: Uint8Array): bigint {
  return new DataView(digest.buffer, digest.byteOffset).getBigUint64(0)
}
