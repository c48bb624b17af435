// Random numbers that are reproducible from a seed.

/**
 * Returns a function that returns integers below its argument (at most 2^32). Xorshift, 32 bits.
 */
export const randomIntegers = (seed) => {
  let state = seed >>> 0 || 1
  return (below) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return Math.floor(((state >>> 0) / 2 ** 32) * below)
  }
}

/** The integers from 0 to count - 1 in random order. */
export const shuffled = (count, seed) => {
  const random = randomIntegers(seed)
  const order = Uint32Array.from({ length: count }, (_, index) => index)
  for (let last = count - 1; last > 0; last--) {
    const other = random(last + 1)
    const kept = order[last]
    order[last] = order[other]
    order[other] = kept
  }
  return order
}
