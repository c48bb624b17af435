// Promise I1: all sources of one call are frozen at one instant, even while other threads write.
// Proved with worker threads that increment cells of several shared memories in a fixed order: in
// every snapshot, each cell is equal to its predecessor in that order, or one behind.

import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { restore, type Source, snapshot } from 'stillframe'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { growableBuffer, wasmMemory } from '../support/memory-kinds.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const directory = sharedTemporaryDirectory()
const captures = 80 * Number(process.env['STILLFRAME_RUNS'] ?? 1)
const byteLength = 1 << 20

// In the order in which the writers increment.
const memories: Record<string, Source> = {
  first: new SharedArrayBuffer(byteLength),
  second: wasmMemory(byteLength / 65536, 4096, true) as Source,
  third: growableBuffer(byteLength, 2 * byteLength),
  fourth: new SharedArrayBuffer(byteLength),
}
const names = Object.keys(memories)

// One cell per page, each for one writer only, so that the writes to a cell have one order.
const cellsOfWriter = [0, 1].map((writer) =>
  Array.from({ length: byteLength / 8192 }, (_, index) => (index * 8192 + writer * 4096) / 4),
)
const control = new SharedArrayBuffer(4)
const writers: Worker[] = []

beforeAll(async () => {
  for (const cells of cellsOfWriter) {
    const workerData = { memories: Object.values(memories), cells, control }
    const writer = new Worker(new URL('cut-writer.mjs', import.meta.url), { workerData })
    writers.push(writer)
    await new Promise((resolve, reject) => writer.once('message', resolve).once('error', reject))
  }
})

afterAll(async () => {
  Atomics.store(new Int32Array(control), 0, 1)
  await Promise.all(writers.map((writer) => writer.terminate()))
})

/** The counters of a snapshot, by memory. */
async function countersOf(path: string): Promise<Record<string, Int32Array>> {
  const counters = Object.fromEntries(names.map((name) => [name, new ArrayBuffer(byteLength)]))
  await restore(path, { verify: false, into: counters })
  return Object.fromEntries(names.map((name) => [name, new Int32Array(counters[name] as ArrayBuffer)]))
}

/** Cells with values that cannot have existed at any one instant. */
function tornCells(counters: Record<string, Int32Array>): string[] {
  return cellsOfWriter.flat().flatMap((cell) => {
    const values = names.map((name) => counters[name]?.[cell] as number)
    const falls = values.every((value, index) => index === 0 || value <= (values[index - 1] as number))
    const close = (values[0] as number) - (values.at(-1) as number) <= 1
    return falls && close ? [] : [`cell ${cell}: ${values.join(' ')}`]
  })
}

describe('all sources are frozen at one instant, while other threads write', () => {
  it(`in each of ${captures} captures`, async () => {
    const path = join(directory, 'cut.snap')
    let before = -1
    let moved = 0
    for (let i = 0; i < captures; i++) {
      await snapshot(memories, path, { durable: false }).done
      const counters = await countersOf(path)
      expect(tornCells(counters)).toEqual([])
      const now = counters['first']?.[0] as number
      expect(now).toBeGreaterThanOrEqual(before)
      if (now > before) moved++
      before = now
    }
    // The writers did write between the captures.
    expect(moved).toBeGreaterThan(captures / 2)
  })

  it('in each of several captures that run at the same time', async () => {
    for (let round = 0; round < 10; round++) {
      const paths = [0, 1, 2].map((index) => join(directory, `cut-${index}.snap`))
      await Promise.all(paths.map((path) => snapshot(memories, path, { durable: false }).done))
      for (const path of paths) expect(tornCells(await countersOf(path))).toEqual([])
    }
  })

  it('which a test like this can tell: one capture for each source is torn', async () => {
    let torn = 0
    for (let i = 0; i < 20 && torn === 0; i++) {
      const counters: Record<string, Int32Array> = {}
      for (const [name, source] of Object.entries(memories)) {
        const path = join(directory, `${name}.snap`)
        await snapshot({ [name]: source }, path, { durable: false }).done
        const into = { [name]: new ArrayBuffer(byteLength) }
        await restore(path, { into })
        counters[name] = new Int32Array(into[name] as ArrayBuffer)
      }
      torn = tornCells(counters).length
    }
    expect(torn).toBeGreaterThan(0)
  })
})
