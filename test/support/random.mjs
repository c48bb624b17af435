/** Random numbers that a seed repeats. A test prints its seed; STILLFRAME_TEST_SEED sets it. */

/** The seed of this run. */
export const testSeed = Number(process.env.STILLFRAME_TEST_SEED ?? Date.now() % 1_000_000)

/**
 * @param {number} seed
 * @returns {() => number} from 0 to below 1, as Math.random().
 */
export function seededRandom(seed) {
  let state = seed | 0
  return () => {
    // A Weyl sequence through a 32-bit finalizer: enough to spread moments in time.
    state = (state + 0x9e3779b9) | 0
    let mixed = state ^ (state >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    mixed ^= mixed >>> 15
    return (mixed >>> 0) / 2 ** 32
  }
}
