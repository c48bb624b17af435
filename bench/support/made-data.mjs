// Data that looks like that of services, and compresses to about half: of every 256 bytes, half are
// words from a small vocabulary and half are random. The same seed gives the same bytes.
import { randomIntegers } from './random.mjs'

const RECORD = 256
const RANDOM_BYTES = 128
// Texts are made once and then picked at random, since a gigabyte must be made in seconds.
const TEXTS = 1024
const SYLLABLES = ['ka', 'lo', 'mi', 'ne', 'tu', 'ra', 'si', 'vo', 'be', 'du', 'fe', 'go']

const makeTexts = (random) => {
  const words = Array.from({ length: 200 }, () =>
    Array.from({ length: 2 + random(3) }, () => SYLLABLES[random(SYLLABLES.length)]).join(''),
  )
  return Array.from({ length: TEXTS }, () => {
    let text = '{"name":"'
    while (text.length < RECORD - RANDOM_BYTES) text += `${words[random(words.length)]} `
    return Buffer.from(text.slice(0, RECORD - RANDOM_BYTES), 'latin1')
  })
}

/**
 * Returns a function that fills memory; each call continues where the previous one ended. The
 * memory must begin at a multiple of 4, and its length must be a multiple of 256 bytes.
 */
export const madeData = (seed) => {
  const random = randomIntegers(seed)
  const texts = makeTexts(random)
  let state = random(2 ** 32) || 1
  return (bytes) => {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
    for (let at = 0; at < bytes.byteLength; at += RECORD) {
      const end = (at + RANDOM_BYTES) / 4
      for (let word = at / 4; word < end; word++) {
        state ^= state << 13
        state ^= state >>> 17
        state ^= state << 5
        words[word] = state
      }
      bytes.set(texts[(state >>> 8) % TEXTS], at + RANDOM_BYTES)
    }
  }
}
