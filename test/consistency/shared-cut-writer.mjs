// A worker thread of shared-cut.test.ts. It either increments one cell after another, so that at
// every moment each cell is equal to the one before it, or one behind; or it follows, that is, it
// records a value that it sees elsewhere, so that its record is never ahead of that value.

import { parentPort, workerData } from 'node:worker_threads'

/** @type {{ cells: Int32Array[], follows?: Int32Array, control: SharedArrayBuffer }} */
const { cells, follows, control } = workerData
const stop = new Int32Array(control)

parentPort?.postMessage('running')
for (let turn = 1; Atomics.load(stop, 0) === 0; turn++) {
  // Gives the test's savers a turn if there are few processors.
  if (turn % 256 === 0) Atomics.wait(stop, 0, 0, 0.1)
  if (follows === undefined) for (const cell of cells) Atomics.add(cell, 0, 1)
  else Atomics.store(/** @type {Int32Array} */ (cells[0]), 0, Atomics.load(follows, 0))
}
