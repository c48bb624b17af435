/** Checks for bytes that must be zero. */

import { Buffer } from 'node:buffer'
import { corrupt } from './failure.js'
import type { ByteSource } from './source.js'

const zeros = Buffer.alloc(65_536)
const windowBytes = 2 ** 20

/** True if all bytes are zero, or if there are none. */
export function areZero(bytes: Uint8Array): boolean {
  return firstNotZero(bytes) === bytes.length
}

/** Index of the first byte that is not zero; the length if there is none. */
export function firstNotZero(bytes: Uint8Array): number {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const piece = bytes.subarray(at, at + zeros.length)
    if (Buffer.compare(piece, zeros.subarray(0, piece.length)) === 0) continue
    return at + piece.findIndex((byte) => byte !== 0)
  }
  return bytes.length
}

/**
 * Fails at the first byte in the range that is not zero. Holes are read like data, since their
 * positions are not known here.
 */
export async function checkZeros(
  source: ByteSource,
  offset: number,
  length: number,
  section: string,
): Promise<void> {
  if (length === 0) return
  const window = Buffer.allocUnsafe(Math.min(windowBytes, length))
  for (let done = 0; done < length; done += window.length) {
    const piece = window.subarray(0, Math.min(window.length, length - done))
    await source.read(piece, offset + done, section)
    const bad = firstNotZero(piece)
    if (bad === piece.length) continue
    throw corrupt(offset + done + bad, section, 'there are bytes where the file must be zero')
  }
}
