// A worker thread of cut.test.ts. It increments the same cell in one memory after another until
// told to stop. At every moment, the cell in each memory is equal to that in the memory before it,
// or one behind.

import { parentPort, workerData } from 'node:worker_threads'

const { memories, cells, control } = workerData
const views = memories.map((memory) => new Int32Array(memory.buffer ?? memory))
const stop = new Int32Array(control)

parentPort.postMessage('running')
// Ends with the test in any case: no writer counts to two billion.
for (let turn = 0; Atomics.load(stop, 0) === 0 && turn < 2 ** 31 - 1; turn++) {
  const cell = cells[turn % cells.length]
  for (const view of views) Atomics.add(view, cell, 1)
}
