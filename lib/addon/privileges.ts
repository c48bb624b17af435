/**
 * Environment variables that name native code to load. The environment of a process that has more
 * rights than the user who started it (a setuid program, or one with file capabilities) is set by
 * that user, so the variables are ignored there, as Node ignores NODE_OPTIONS.
 */

import { readFileSync } from 'node:fs'
import process from 'node:process'

// Constants of the auxiliary vector, a list of pairs of 64-bit keys and values (getauxval(3)).
const atSecure = 23n
const pairLength = 16

/** The value of a variable that names an addon; undefined if it is not set or must be ignored. */
export function addonVariable(name: string): string | undefined {
  const value = process.env[name]
  return value && !hasBorrowedRights() ? value : undefined
}

/**
 * Also true if this cannot be determined: a process that has gained rights may not read about
 * itself in /proc.
 */
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
