// A worker thread of shared-cut.test.ts. It counts up one cell after the other, so that at every moment each is equal to
// the one before it, or one behind; or it follows: it writes down what it sees elsewhere, which is then never behind.

import { parentPort, workerData } from 'node:worker_threads'

/** @type {{ cells: Int32Array[], follows?: Int32Array, control: SharedArrayBuffer }} */
const { cells, follows, control } = workerData
const stop = new Int32Array(control)

parentPort?.postMessage('running')
for (let turn = 1; Atomics.load(stop, 0) === 0; turn++) {
  // The savers of the test get a turn, too, where there are few processors.
  if (turn % 256 === 0) Atomics.wait(stop, 0, 0, 0.1)
  if (follows === undefined) for (const cell of cells) Atomics.add(cell, 0, 1)
  else Atomics.store(/** @type {Int32Array} */ (cells[0]), 0, Atomics.load(follows, 0))
}
