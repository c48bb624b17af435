/**
 * Worker that fetches a frame from a store page by page while other threads wait for the pages. It
 * exits with the end of the restore.
 */

import { parentPort, workerData } from 'node:worker_threads'
import { loadAddon } from '../addon/load.js'
import { codeOf, messageOf } from '../base/errors.js'
import { storeOf } from '../store/recipe.js'
import type { LazyMessage, LazyThreadData, StoreFailure } from './lazy-thread-data.js'
import { RangeReader } from './range-reader.js'

const { recipe, isSealed, files, wish } = workerData as LazyThreadData
/**
 * This listener keeps the thread alive until the end, even while the thread waits only for a key.
 */
const stayAlive = (): void => {}
parentPort?.on('message', stayAlive)
const tell = (message: LazyMessage): void => {
  parentPort?.postMessage(message)
  if ('end' in message) parentPort?.off('message', stayAlive)
}

try {
  await run()
} catch (error) {
  tell({ end: { store: describe(error) } })
}

async function run(): Promise<void> {
  const store = await storeOf(recipe)
  const ended = new AbortController()
  // Request all keys now, while the thread that holds them is not yet waiting for a page.
  const parts = isSealed ? files.flatMap((file) => file.parts) : []
  await Promise.all(parts.map(({ key }) => store.get(key, { range: [0, 1] })))
  const reader = new RangeReader(store, files, ended.signal)
  loadAddon().restoreLazily(
    { ...wish, path: '', parents: [], ...reader.far(), onOpen: (number) => tell({ open: number }) },
    (error) => {
      ended.abort()
      if (error === null) tell({ end: 'whole' })
      // The error of the store says more.
      else if (reader.failure !== undefined) tell({ end: { store: describe(reader.failure) } })
      else tell({ end: { native: { ...error, message: error.message } } })
    },
  )
}

function describe(error: unknown): StoreFailure {
  const code = codeOf(error)
  return { code: typeof code === 'string' ? code : undefined, message: messageOf(error) }
}
