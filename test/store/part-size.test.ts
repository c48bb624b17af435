/**
 * Promise: parts of uploads comply with the rules of S3 for objects of every accepted size, and fit
 * into the memory for parts.
 *
 * Proved by adding up the sizes.
 */

import { expect, test } from 'vitest'
import { isPart, maxBytesInMemory, maxObjectBytes, partBytes } from '../../lib/s3/part-size.js'

const MiB = 2 ** 20

test('10,000 parts of one size hold every object whose length is known', () => {
  for (const size of [
    0,
    1,
    8 * MiB,
    80_000 * MiB,
    80_000 * MiB + 1,
    800 * 2 ** 30,
    maxObjectBytes - 1,
    maxObjectBytes,
  ]) {
    const bytes = partBytes(1, size)
    expect(partBytes(10_000, size)).toBe(bytes)
    expect(bytes).toBeGreaterThanOrEqual(8 * MiB)
    expect(bytes).toBeLessThanOrEqual(maxBytesInMemory)
    expect(Math.ceil(size / bytes)).toBeLessThanOrEqual(10_000)
  }
  expect(partBytes(1, 80_000 * MiB)).toBe(8 * MiB)
})

test('parts of a stream of unknown length grow, and hold 292 GiB', () => {
  let total = 0
  let number = 1
  for (; isPart(number); number++) {
    const bytes = partBytes(number, undefined)
    expect(bytes).toBeLessThanOrEqual(maxBytesInMemory)
    total += bytes
  }
  expect(number).toBe(10_001)
  expect(total).toBeGreaterThan(292 * 2 ** 30)
  expect(partBytes(2_500, undefined)).toBe(8 * MiB)
  expect(partBytes(2_501, undefined)).toBe(16 * MiB)
})
