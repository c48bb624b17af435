/** A Worker that ends in the middle of its work. */

import { Worker } from 'node:worker_threads'
import { isGone } from './processes.mjs'

/**
 * @param {'snapshot' | 'job'} what
 * @param {string} path
 * @param {string} way - `exit`, `throw`, `terminate` or `return`; `return` leaves the Worker with
 *   nothing to do while the work goes on.
 */
export async function runEndingWorker(what, path, way) {
  const entry = new URL('fixtures/ending-worker.mjs', import.meta.url)
  const worker = new Worker(entry, { workerData: { what, path, way } })
  /** @type {string[]} */
  const messages = []
  let pid = 0
  let error
  worker.on('error', (raised) => {
    error = raised.message
  })
  worker.on('message', (message) => {
    if (typeof message === 'number') pid = message
    else messages.push(message)
    if (way === 'terminate') void worker.terminate()
  })
  const status = await new Promise((resolve) => worker.on('exit', resolve))
  return { end: { status, error }, messages, childGone: isGone(pid) }
}
