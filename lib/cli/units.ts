/** Formats bytes, times and counts for people, and parses the sizes that they write. */

export * from '../base/units.js'

const multipliers: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  kib: 2 ** 10,
  kb: 1e3,
  m: 2 ** 20,
  mib: 2 ** 20,
  mb: 1e6,
  g: 2 ** 30,
  gib: 2 ** 30,
  gb: 1e9,
  t: 2 ** 40,
  tib: 2 ** 40,
  tb: 1e12,
}

/** Reads `'1GiB'`, `'512M'`, `'1.5 GB'` or `'4096'`; undefined for anything else. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim())
  const multiplier = multipliers[(match?.[2] ?? '?').toLowerCase()]
  if (match === null || multiplier === undefined) return undefined
  const bytes = Math.floor(Number(match[1]) * multiplier)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}
