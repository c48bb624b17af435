/**
 * Sizes of the parts of an upload. S3 allows at most 10,000 parts, of at least 5 MiB except for the
 * last.
 */

const MiB = 2 ** 20
const maxParts = 10_000

/**
 * Maximum bytes of all parts in memory at a time, including the one being filled. With its other
 * memory, an upload stays within 128 MiB.
 */
export const maxBytesInMemory = 88 * MiB

const usualBytes = 8 * MiB

/** Maximum size of an object, with the largest parts that fit into memory. */
export const maxObjectBytes = maxParts * maxBytesInMemory

/**
 * The size of parts for a stream of unknown length doubles after every 2,500 parts, which allows
 * 292 GiB in total.
 */
const partsOfOneSize = 2_500

/**
 * Size in bytes of the part with this number; the first is 1. If the length of the object is known,
 * all parts have the same size, as some stores require.
 */
export function partBytes(number: number, objectBytes: number | undefined): number {
  if (objectBytes === undefined) return usualBytes * 2 ** Math.floor((number - 1) / partsOfOneSize)
  return Math.max(usualBytes, Math.ceil(objectBytes / maxParts / MiB) * MiB)
}

/** True if an upload can have a part with this number. */
export function isPart(number: number): boolean {
  return number <= maxParts
}
