/** Random sequences of writes to memory, through views of every width. */

import type { Random } from './random.mjs'

/** Runs of one repeated byte, as memset leaves them. Runs of zeros make holes in the file. */
const fills = [0, 0, 0xff, 1]

/**
 * Makes `count` writes at random positions: single elements of every width, short runs, whole
 * pages.
 */
export function writeRandomly(bytes: Uint8Array, random: Random, count: number): void {
  if (bytes.length === 0) return
  for (let i = 0; i < count; i++) writeOnce(bytes, random)
}

function writeOnce(bytes: Uint8Array, random: Random): void {
  const { buffer, byteOffset, length } = bytes
  const at = random.below(length)
  const choice = random.below(8)
  if (choice === 6) {
    bytes.fill(fills[random.below(fills.length)] as number, at, at + random.below(3 * 4096))
    return
  }
  if (choice === 7) {
    // A whole page if the memory contains one there.
    const page = at - ((byteOffset + at) % 4096)
    random.fill(bytes.subarray(Math.max(page, 0), page + 4096))
    return
  }
  const view = new DataView(buffer, byteOffset, length)
  const room = length - at
  const value = random.word()
  if (choice === 0 && room >= 8) view.setFloat64(at, value / 3, true)
  else if (choice === 1 && room >= 8) view.setBigUint64(at, BigInt(value) << 17n, false)
  else if (choice === 2 && room >= 4) view.setInt32(at, value, true)
  else if (choice === 3 && room >= 4) view.setFloat32(at, value, false)
  else if (choice === 4 && room >= 2) view.setUint16(at, value, true)
  else view.setUint8(at, value)
}

/** Changes one byte of every page, so that no page is as it was. */
export function touchAllPages(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at += 4096) bytes[at] = (bytes[at] as number) ^ 0x5a
  if (bytes.length > 0) bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 0xa5
}
