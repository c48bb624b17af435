/**
 * A busy worker thread with its own loads, messages and an occasional fork. It ends when told to
 * stop.
 */

import { parentPort, workerData } from 'node:worker_threads'
import { seededRandom } from '../support/random.mjs'
import { CheckedState } from './checked-fork.mjs'
import { startChurn } from './churn.mjs'

const { loads, seed, counters, thread, directory, options, kinds, pauseBetweenForksMs } = workerData
const state = new CheckedState(counters, thread)
let stopping = false

const stopChurn = startChurn(loads, seededRandom(seed), () => state.advance())
const chatter = setInterval(() => parentPort?.postMessage({ chat: Array(100).fill({ text: 'x' }) }), 3)
parentPort?.on('message', (message) => {
  if (message === 'stop') stopping = true
})

for (let i = 0; !stopping; i++) {
  await new Promise((resolve) => setTimeout(resolve, pauseBetweenForksMs))
  const kind = kinds[i % kinds.length]
  try {
    parentPort?.postMessage({ fork: await state.fork(kind, directory, options) })
  } catch (error) {
    const { code, message } = /** @type {any} */ (error)
    parentPort?.postMessage({ failed: { kind, code, message, where: `worker ${thread}` } })
  }
}
stopChurn()
clearInterval(chatter)
parentPort?.close()
