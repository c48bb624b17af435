/**
 * Randomness that can be had again. fast-check prints the seed of a failed run:
 *
 *   STILLFRAME_SEED=123 npx vitest run test/consistency/history.test.ts
 *
 * repeats it; STILLFRAME_RUNS multiplies the number of runs, for a long night.
 */

/** Parameters for `fc.assert`. */
export function seeded(runs: number): { numRuns: number; endOnFailure: boolean; seed?: number } {
  const { STILLFRAME_SEED: seed, STILLFRAME_RUNS: factor } = process.env
  const parameters = { numRuns: runs * Number(factor ?? 1), endOnFailure: true }
  return seed === undefined ? parameters : { ...parameters, seed: Number(seed) }
}

/** Random numbers from a seed: xorshift32, whose quality is enough to fill memory with. */
export class Random {
  #state: number

  constructor(seed: number) {
    // 0 is the one state it never leaves; small seeds are spread first.
    this.#state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0 || 1
  }

  /** An integer from 0 to 2^32 - 1. */
  word(): number {
    let x = this.#state
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    this.#state = x >>> 0
    return this.#state
  }

  /** An integer from 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.word() / 2 ** 32) * limit)
  }

  /** Fills memory with bytes of which no two pages are alike. */
  fill(bytes: Uint8Array): void {
    let i = 0
    for (; i < bytes.length && (bytes.byteOffset + i) % 4 !== 0; i++) bytes[i] = this.word()
    if (bytes.length - i >= 4) {
      const words = new Uint32Array(bytes.buffer, bytes.byteOffset + i, (bytes.length - i) >>> 2)
      for (let word = 0; word < words.length; word++) words[word] = this.word()
      i += words.length * 4
    }
    for (; i < bytes.length; i++) bytes[i] = this.word()
  }
}
