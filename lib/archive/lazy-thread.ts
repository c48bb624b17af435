/**
 * The thread that fetches a frame page by page, while others wait for its pages. It talks to {@link file://./lazy-restore.ts}, and
 * ends with the restore.
 */

import { parentPort, workerData } from 'node:worker_threads'
import { loadAddon } from '../addon/load.js'
import { codeOf, messageOf } from '../base/errors.js'
import type { NativeFailure } from '../base/native-failure.js'
import type { LazyWish } from '../restore/filling.js'
import { type StoreRecipe, storeOf } from '../store/recipe.js'
import { fetchRange, type StoredPart } from './remote/index.js'

/** One file of the chain. */
export interface LazyFile {
  /** For messages. */
  readonly name: string
  readonly parts: readonly StoredPart[]
}

export interface LazyThreadData {
  readonly recipe: Omit<StoreRecipe, 'transfer'>
  readonly isSealed: boolean
  /** From the newest on. */
  readonly files: readonly LazyFile[]
  readonly wish: LazyWish
}

/** What the thread tells. */
export type LazyMessage =
  | { readonly open: number }
  | { readonly end: 'whole' | { readonly native: PlainFailure } | { readonly store: StoreFailure } }

/** A NativeFailure as an object that can be sent. */
export type PlainFailure = Omit<NativeFailure, 'name' | 'stack' | 'cause'>

export interface StoreFailure {
  readonly code: string | undefined
  readonly message: string
}

const { recipe, isSealed, files, wish } = workerData as LazyThreadData
/** Keeps the thread alive until the end, also while it waits for nothing but a key. */
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
  // The key of each is asked for while the thread that has it does not wait for a page.
  const parts = isSealed ? files.flatMap((file) => file.parts) : []
  await Promise.all(parts.map(({ key }) => store.get(key, { range: [0, 1] })))
  let failure: StoreFailure | undefined
  loadAddon().restoreLazily(
    {
      ...wish,
      path: '',
      parents: [],
      files: files.map((file) => ({ name: file.name, byteLength: sizeOf(file) })),
      onRead(file, offset, length, answer) {
        const { parts } = files[file] as LazyFile
        fetchRange(store, parts, offset, offset + length, ended.signal).then(answer, (error: unknown) => {
          failure ??= describe(error)
          answer(undefined, messageOf(error), codeOf(error) === 'ERR_STILLFRAME_CORRUPT')
        })
      },
      onOpen: (number) => tell({ open: number }),
    },
    (error) => {
      ended.abort()
      if (error === null) tell({ end: 'whole' })
      // What the store has said says more.
      else if (failure !== undefined) tell({ end: { store: failure } })
      else tell({ end: { native: { ...error, message: error.message } } })
    },
  )
}

function describe(error: unknown): StoreFailure {
  const code = codeOf(error)
  return { code: typeof code === 'string' ? code : undefined, message: messageOf(error) }
}

function sizeOf({ parts }: LazyFile): number {
  return parts.reduce((sum, { size }) => sum + size, 0)
}
