/**
 * Promise: an upload has at most 96 MiB in memory, however large its parts are.
 *
 * Proved by taking memory until there is none left.
 */

import { expect, test } from 'vitest'
import { PartMemory } from '../../lib/s3/part-memory.js'

const MiB = 2 ** 20

test.for([
  ['12 of 8 MiB', 8 * MiB, 12],
  ['6 of 16 MiB', 16 * MiB, 6],
  ['1 of 50 MiB', 50 * MiB, 1],
  ['1 of 96 MiB', 96 * MiB, 1],
] as const)('%s parts can be had at a time', async ([, bytes, most]) => {
  const memory = new PartMemory()
  const taken = []
  for (let n = 0; n < most; n++) taken.push(await memory.take(bytes))
  let more: Buffer | undefined
  const waiting = memory.take(bytes).then((part) => {
    more = part
  })
  await new Promise(setImmediate)
  expect(more).toBeUndefined()
  const [first] = taken
  memory.give(first as Buffer)
  await waiting
  // The same memory again.
  expect(more).toBe(first)
})

test('parts that grow do not take more', async () => {
  const memory = new PartMemory()
  const small = []
  for (let n = 0; n < 12; n++) small.push(await memory.take(8 * MiB))
  let grown = false
  const waiting = memory.take(16 * MiB).then((part) => {
    grown = true
    expect(part.length).toBe(16 * MiB)
  })
  memory.give(small[0] as Buffer)
  await new Promise(setImmediate)
  expect(grown).toBe(false)
  memory.give(small[1] as Buffer)
  await waiting
})
