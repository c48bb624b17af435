/** Memory of a frame in a store, handed out before it is fetched. */

import { type FileHandle, open } from 'node:fs/promises'
import { type Transferable, Worker } from 'node:worker_threads'
import { CallSite, StillframeError, type StillframeErrorCode } from '../base/errors.js'
import { valuesIn } from '../heap/values.js'
import { fillLazily, type LazyStart } from '../restore/filling.js'
import {
  checkRestoreOptions,
  type Restored,
  type RestoreOptions,
  restoredLazily,
} from '../restore/restore.js'
import { restores } from '../restore/trace.js'
import { recipeOf } from '../store/recipe.js'
import { SealedStore } from '../store/sealed-store.js'
import type { ObjectStore } from '../store/store.js'
import { toFrame } from './frame.js'
import type { KnownEntry } from './frame-table.js'
import type { LazyMessage, LazyThreadData } from './lazy-thread.js'
import { pathOf, storeName } from './names.js'
import { downloadFile, type Lease } from './remote/index.js'
import { objectsOf } from './replica-plan.js'
import { type ArchiveRestored, checkState, forgotten } from './restore.js'
import { makeSpool } from './spool.js'

export interface LazyFrame {
  readonly store: ObjectStore
  /** Where the file of the objects is fetched to. */
  readonly spool: string
  readonly entry: KnownEntry
  /** It and what it builds on, from the newest on. */
  readonly chain: readonly KnownEntry[]
  readonly options: RestoreOptions
  /** Given up when all has been fetched. */
  readonly lease: Lease | undefined
}

/** What {@link StorePlace.restore} returns with mode `'lazy'`, but for what was skipped. */
export async function restoreFrameLazily<Meta>(
  frame: LazyFrame,
): Promise<Omit<ArchiveRestored<Meta>, 'skipped'> & Restored<Meta>> {
  const { entry, options, lease } = frame
  const restored = await restores.promise(
    () => ({ path: storeName }),
    options.signal,
    () => restoreMemory<Meta>(frame),
  )
  const state = new FetchedState(frame)
  const release = (): void => {
    void lease?.release().catch(() => {})
  }
  void Promise.allSettled([restored.ready, state.isThere]).then(release)
  const close = restored.close.bind(restored)
  forgotten.register(restored, () => state.close())
  return Object.assign(restored, {
    frame: toFrame(entry, [], 'store'),
    state: <Value>() => state.values<Value>(),
    close(): void {
      close()
      state.close()
    },
  })
}

async function restoreMemory<Meta>({ store, chain, options, lease }: LazyFrame): Promise<Restored<Meta>> {
  const signals = [options.signal, lease?.signal].filter((signal) => signal !== undefined)
  const wish = {
    ...checkRestoreOptions(options),
    signal: signals.length === 0 ? undefined : AbortSignal.any(signals),
  }
  const { transfer = [], ...recipe } = await recipeOf(store)
  const files = chain.map((one) => ({ name: `frame ${one.number}`, parts: objectsOf(one).memory }))
  const { filling, native } = await fillLazily({
    path: storeName,
    callSite: new CallSite(restoreMemory),
    wish,
    start: (start) => startThread(start, { recipe, isSealed: store instanceof SealedStore, files }, transfer),
  })
  return restoredLazily<Meta>(native, storeName, filling)
}

function startThread(
  { plan, onOpen, onEnd }: LazyStart,
  data: Omit<LazyThreadData, 'wish'>,
  transfer: readonly Transferable[],
): () => void {
  let isOver = false
  const end = (error: Error | null): void => {
    if (isOver) return
    isOver = true
    onEnd(error)
    void thread.terminate()
  }
  const thread = new Worker(new URL('./lazy-thread.js', import.meta.url), {
    name: 'stillframe-lazy',
    workerData: { ...data, wish: plan } satisfies LazyThreadData,
    transferList: [...transfer],
    // What the service is started with is not for this thread.
    execArgv: [],
  })
  thread.on('message', (message: LazyMessage) => {
    if ('open' in message) onOpen(message.open)
    else end(errorOf(message.end))
  })
  thread.on('error', end)
  thread.on('exit', () => {
    end(new StillframeError('ERR_STILLFRAME_IO', 'the thread that fetches memory from the store has ended'))
  })
  return () => void thread.terminate()
}

function errorOf(end: Extract<LazyMessage, { end: unknown }>['end']): Error | null {
  if (end === 'whole') return null
  if ('native' in end) return Object.assign(new Error(end.native.message), end.native)
  const { code = 'ERR_STILLFRAME_IO', message } = end.store
  return new StillframeError(code as StillframeErrorCode, message)
}

/** The objects of the frame, which are fetched as a file beside the memory. */
class FetchedState {
  /** Settles when it need not be fetched any more. */
  readonly isThere: Promise<unknown>
  readonly #file: Promise<{ file: FileHandle; path: string } | undefined>
  #isClosed = false

  constructor(frame: LazyFrame) {
    this.#file = fetchState(frame)
    this.isThere = this.#file
    // Whoever wants the objects is told.
    this.#file.catch(() => {})
  }

  async *values<Value>(): AsyncGenerator<Value, void, undefined> {
    const opened = await this.#file
    if (opened !== undefined && !this.#isClosed) yield* valuesIn<Value>(opened.file, opened.path)
  }

  close(): void {
    this.#isClosed = true
    void this.#file.then((opened) => opened?.file.close()).catch(() => {})
  }
}

async function fetchState({
  store,
  spool: parent,
  entry,
  options,
}: LazyFrame): Promise<{ file: FileHandle; path: string } | undefined> {
  const { state } = objectsOf(entry)
  if (state === undefined) return undefined
  const spool = await makeSpool(parent)
  try {
    const path = pathOf(spool.directory, entry.number, 'state')
    await downloadFile(path, { store, parts: state, signal: options.signal })
    const file = await open(path, 'r')
    try {
      if (options.verify !== false) await checkState(entry, path, file)
      return { file, path }
    } catch (error) {
      await file.close()
      throw error
    }
  } finally {
    await spool.remove()
  }
}
