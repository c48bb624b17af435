/** How large the parts of an upload are. S3 has at most 10,000 of them, of at least 5 MiB but for the last. */

const MiB = 2 ** 20
const maxParts = 10_000

/** All parts that are in memory at a time, the one that is being filled with them. With what else an upload takes it is within 128 MiB. */
export const maxBytesInMemory = 88 * MiB

const usualBytes = 8 * MiB

/** Of objects that are too large for parts of the usual size. */
export const maxObjectBytes = maxParts * maxBytesInMemory

/** After so many parts of a stream of unknown length, they become twice as large: 292 GiB in all. */
const partsOfOneSize = 2_500

/**
 * Bytes of the part of this number, the first being 1. Where the length of the object is known, all parts are of one size, as some
 * stores want it.
 */
export function partBytes(number: number, objectBytes: number | undefined): number {
  if (objectBytes === undefined) return usualBytes * 2 ** Math.floor((number - 1) / partsOfOneSize)
  return Math.max(usualBytes, Math.ceil(objectBytes / maxParts / MiB) * MiB)
}

/** Whether there can be a part of this number. */
export function isPart(number: number): boolean {
  return number <= maxParts
}
