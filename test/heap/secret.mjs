/** Texts that nobody else has, as a fixture plants them and its test searches for them. */

import { createHash } from 'node:crypto'

/** One-byte, and an identifier: `s` and 20 hexadecimal digits. */
export function secretOf(seed, kind) {
  return `s${createHash('sha256').update(`${seed} ${kind}`).digest('hex').slice(0, 20)}`
}

/** The same of Greek letters, for which a string needs two bytes each. */
export function greekOf(seed, kind) {
  return [...secretOf(seed, kind)]
    .map((c) => (c === 's' ? 'σ' : String.fromCharCode(0x3b1 + Number.parseInt(c, 16))))
    .join('')
}
