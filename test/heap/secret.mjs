/** Unique texts that a fixture plants and its test searches for. */

import { createHash } from 'node:crypto'

/** A one-byte string and valid identifier: `s` and 20 hexadecimal digits. */
export function secretOf(seed, kind) {
  return `s${createHash('sha256').update(`${seed} ${kind}`).digest('hex').slice(0, 20)}`
}

/** The same in Greek letters, for which a string needs two bytes per character. */
export function greekOf(seed, kind) {
  return [...secretOf(seed, kind)]
    .map((c) => (c === 's' ? 'σ' : String.fromCharCode(0x3b1 + Number.parseInt(c, 16))))
    .join('')
}
