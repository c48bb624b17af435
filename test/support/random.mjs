/**
 * Reproducible randomness. Each test file draws a seed, which its tests print, either themselves or
 * through fast-check. To repeat a run:
 *
 *   STILLFRAME_TEST_SEED=123 npx vitest run test/consistency/history.test.ts
 *
 * STILLFRAME_TEST_RUNS multiplies fast-check's number of runs, for runs over a night.
 */

const { STILLFRAME_TEST_SEED, STILLFRAME_TEST_RUNS = '1' } = process.env

/** The seed of this process. */
export const testSeed = Number(STILLFRAME_TEST_SEED ?? Date.now() % 1_000_000)

/**
 * Parameters for `fc.assert`.
 *
 * @param {number} runs
 */
export function seeded(runs) {
  return { numRuns: runs * Number(STILLFRAME_TEST_RUNS), endOnFailure: true, seed: testSeed }
}

/**
 * Random numbers from a seed: a Weyl sequence through a 32-bit finalizer. Good enough to fill
 * memory and to choose moments.
 */
export class Random {
  #state

  /** @param {number} seed */
  constructor(seed) {
    this.#state = seed | 0
  }

  /** An integer from 0 to 2^32 - 1. */
  word() {
    this.#state = (this.#state + 0x9e3779b9) | 0
    let mixed = this.#state ^ (this.#state >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    mixed ^= mixed >>> 15
    return mixed >>> 0
  }

  /**
   * An integer from 0 to `limit` - 1.
   *
   * @param {number} limit
   */
  below(limit) {
    return Math.floor((this.word() / 2 ** 32) * limit)
  }

  /**
   * Fills memory with bytes so that no two pages are equal.
   *
   * @param {Uint8Array} bytes
   */
  fill(bytes) {
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

/**
 * The same generator as a function, to use in place of Math.random().
 *
 * @param {number} seed
 * @returns {() => number} numbers in [0, 1).
 */
export function seededRandom(seed) {
  const random = new Random(seed)
  return () => random.word() / 2 ** 32
}
