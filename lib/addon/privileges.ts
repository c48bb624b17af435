/**
 * Environment variables that name native code to load. Whoever starts a process that has more rights than he has himself (a
 * setuid program, one with file capabilities) sets its environment: there they are ignored, as Node ignores NODE_OPTIONS.
 */

import { readFileSync } from 'node:fs'

// Of the auxiliary vector: pairs of 64 bits, a key and its value (getauxval(3)).
const atSecure = 23n
const pairLength = 16

/** The value of a variable that names an addon; undefined when it is not set, or must not be obeyed. */
export function addonVariable(name: string): string | undefined {
  const value = process.env[name]
  return value && !hasBorrowedRights() ? value : undefined
}

/** True also where it cannot be told: a process that gained rights may not read about itself in /proc. */
function hasBorrowedRights(): boolean {
  if (process.getuid?.() !== process.geteuid?.() || process.getgid?.() !== process.getegid?.()) return true
  try {
    const pairs = readFileSync('/proc/self/auxv')
    for (let at = 0; at + pairLength <= pairs.length; at += pairLength) {
      if (pairs.readBigUInt64LE(at) === atSecure) return pairs.readBigUInt64LE(at + 8) !== 0n
    }
    return false
  } catch {
    return true
  }
}
