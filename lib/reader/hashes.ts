/** The checksums of the format: XXH3-64 and XXH3-128, with seed 0. */

import { createXXHash3, createXXHash128 } from 'hash-wasm'

type Hasher = Awaited<ReturnType<typeof createXXHash3>>

/** Bytes of a sum. */
export const sumSize = 16

/** Loaded once: both are compiled from WebAssembly, and one of each is enough, since nothing waits in between. */
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

  /** The checksum of some bytes. */
  checksum(...pieces: readonly Uint8Array[]): bigint {
    this.#short.init()
    for (const piece of pieces) this.#short.update(piece)
    return numberOf(this.#short.digest('binary'))
  }

  /** The same of bytes that come one piece after another, with other work in between. */
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

  /** The sum of some bytes, as it stands in a file: 16 bytes, the low half first. */
  sum(bytes: Uint8Array): Uint8Array {
    return this.#long.init().update(bytes).digest('binary').reverse()
  }
}

/** Digests begin with the highest byte. */
function numberOf(digest: Uint8Array): bigint {
  return new DataView(digest.buffer, digest.byteOffset).getBigUint64(0)
}
