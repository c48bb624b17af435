/**
 * Promise: all uploads into one store together hold at most 88 MiB in memory, however large their
 * parts are, and each gets its turn.
 *
 * Proved by taking memory until none is left.
 */

import { expect, test } from 'vitest'
import { PartMemory, type UploadMemory } from '../../lib/s3/part-memory.js'

const MiB = 2 ** 20
const { signal } = new AbortController()

/** Takes all memory in parts of 8 MiB. */
async function takeAll(memory: UploadMemory): Promise<Buffer[]> {
  const taken = []
  for (let n = 0; n < 11; n++) taken.push(await memory.take(8 * MiB, signal))
  return taken
}

test.for([
  ['11 of 8 MiB', 8 * MiB, 11],
  ['5 of 16 MiB', 16 * MiB, 5],
  ['1 of 50 MiB', 50 * MiB, 1],
  ['1 of 88 MiB', 88 * MiB, 1],
] as const)('%s parts can be had at a time', async ([, bytes, most]) => {
  const memory = new PartMemory().forUpload()
  const taken = []
  for (let n = 0; n < most; n++) taken.push(await memory.take(bytes, signal))
  let more: Buffer | undefined
  const waiting = memory.take(bytes, signal).then((part) => {
    more = part
  })
  await new Promise(setImmediate)
  expect(more).toBeUndefined()
  const [first] = taken
  memory.give(first as Buffer)
  await waiting
  // The same memory is reused.
  expect(more).toBe(first)
})

test('parts that grow do not take more', async () => {
  const memory = new PartMemory().forUpload()
  const small = []
  for (let n = 0; n < 11; n++) small.push(await memory.take(8 * MiB, signal))
  let grown = false
  const waiting = memory.take(16 * MiB, signal).then((part) => {
    grown = true
    expect(part.length).toBe(16 * MiB)
  })
  memory.give(small[0] as Buffer)
  await new Promise(setImmediate)
  expect(grown).toBe(false)
  memory.give(small[1] as Buffer)
  await waiting
})

test('uploads into one store wait for one another, in their order', async () => {
  const all = new PartMemory()
  const first = all.forUpload()
  const taken = await takeAll(first)
  const order: string[] = []
  // Large, so that the small one would fit earlier.
  const second = all.forUpload()
  const large = second.take(16 * MiB, signal).then(() => order.push('large'))
  const small = all
    .forUpload()
    .take(8 * MiB, signal)
    .then(() => order.push('small'))
  for (const part of taken.slice(0, 3)) {
    first.give(part)
    await new Promise(setImmediate)
  }
  await Promise.all([large, small])
  expect(order).toEqual(['large', 'small'])
})

test('what an upload has not given back at its end counts no more, and nobody else gets it', async () => {
  const all = new PartMemory()
  const failed = all.forUpload()
  const taken = new Set(await takeAll(failed))
  const other = all.forUpload()
  const waiting = other.take(8 * MiB, signal)
  failed.end()
  expect(taken.has(await waiting)).toBe(false)
  for (let n = 0; n < 10; n++) expect(taken.has(await other.take(8 * MiB, signal))).toBe(false)
  // A second time, as a late answer would do.
  for (const part of taken) failed.give(part)
  const isMore = await Promise.race([
    other.take(8 * MiB, signal).then(() => true),
    new Promise((resolve) => setImmediate(resolve, false)),
  ])
  expect(isMore).toBe(false)
})

test('who waits no longer is passed over', async () => {
  const all = new PartMemory()
  const memory = all.forUpload()
  const [first] = await takeAll(memory)
  const gone = new AbortController()
  const reason = new Error('enough')
  const large = all.forUpload().take(88 * MiB, gone.signal)
  const small = all.forUpload().take(8 * MiB, signal)
  gone.abort(reason)
  await expect(large).rejects.toBe(reason)
  memory.give(first as Buffer)
  expect((await small).length).toBe(8 * MiB)
  await expect(all.forUpload().take(1, gone.signal)).rejects.toBe(reason)
})
