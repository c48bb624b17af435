/**
 * Memory of a frame in a store, without a copy of its files on this machine: straight into fresh memory, or handed out before it is
 * fetched. Each block is checked before it can be seen.
 */

import { type FileHandle, open } from 'node:fs/promises'
import { type Transferable, Worker } from 'node:worker_threads'
import { CallSite, StillframeError, type StillframeErrorCode } from '../base/errors.js'
import { isRegion } from '../region/region.js'
import { fillLazily, type LazyStart } from '../restore/filling.js'
import {
  checkRestoreOptions,
  type Restored,
  type RestoreOptions,
  type RestoreWish,
  restoredLazily,
  restoreFrom,
} from '../restore/restore.js'
import { restores } from '../restore/trace.js'
import { recipeOf } from '../store/recipe.js'
import { SealedStore } from '../store/sealed-store.js'
import type { ObjectStore } from '../store/store.js'
import { valuesIn } from '../values/values.js'
import { toFrame } from './frame.js'
import type { KnownEntry } from './frame-table.js'
import type { LazyMessage, LazyThreadData, PartsFile } from './lazy-thread-data.js'
import { pathOf, storeName } from './names.js'
import { RangeReader } from './range-reader.js'
import { downloadFile, type Lease } from './remote/index.js'
import { objectsOf } from './replica-plan.js'
import { type ArchiveRestored, checkState, forgotten } from './restore.js'
import { makeSpool } from './spool.js'

export interface StoredFrame {
  readonly store: ObjectStore
  /** Where the file of the objects is fetched to. */
  readonly spool: string
  readonly entry: KnownEntry
  /** It and what it builds on, from the newest on. */
  readonly chain: readonly KnownEntry[]
  readonly options: RestoreOptions
  /** Given up when all has been fetched, if this resolves. */
  readonly lease: Lease | undefined
}

/** Whether {@link restoreStoredFrame} can do it. Other restores need the files. */
export function needsNoFiles({ mode, into }: RestoreOptions): boolean {
  // Memory of JavaScript is filled chunk by chunk, each of which would wait for the network.
  const destinations = Object.values(into ?? {})
  return mode !== 'map' && destinations.every(isRegion)
}

/** What {@link StorePlace.restore} returns, but for what was skipped. */
export async function restoreStoredFrame<Meta>(
  frame: StoredFrame,
): Promise<Omit<ArchiveRestored<Meta>, 'skipped'> & Restored<Meta>> {
  const { entry, lease } = frame
  // What a store says is not believed, whatever is asked for.
  const wish = { ...checkRestoreOptions(frame.options), verify: true, signal: signalOf(frame) }
  const state = new FetchedState(frame)
  const restored = await restoreMemory<Meta>(frame, wish, state).catch((error: unknown) => {
    state.close()
    throw error
  })
  void Promise.allSettled([restored.ready, state.isThere]).then(() => lease?.release().catch(() => {}))
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

async function restoreMemory<Meta>(
  frame: StoredFrame,
  wish: RestoreWish,
  state: FetchedState,
): Promise<Restored<Meta>> {
  if (wish.mode === 'lazy') {
    return await restores.promise(
      () => ({ path: storeName }),
      wish.signal,
      () => restoreLazily<Meta>(frame, wish),
    )
  }
  // Damage of the objects is damage of the frame.
  await state.isThere
  return await restoreNow<Meta>(frame, wish)
}

function signalOf({ options, lease }: StoredFrame): AbortSignal | undefined {
  const signals = [options.signal, lease?.signal].filter((signal) => signal !== undefined)
  return signals.length === 0 ? undefined : AbortSignal.any(signals)
}

function filesOf({ chain }: StoredFrame): PartsFile[] {
  return chain.map((one) => ({ name: `frame ${one.number}`, parts: objectsOf(one).memory }))
}

async function restoreNow<Meta>(frame: StoredFrame, wish: RestoreWish): Promise<Restored<Meta>> {
  const ended = new AbortController()
  const reader = new RangeReader(frame.store, filesOf(frame), ended.signal)
  try {
    return await restoreFrom<Meta>(storeName, reader.far(), { ...wish, mode: 'copy' })
  } catch (error) {
    // What the store has said says more.
    throw wish.signal?.aborted ? error : (reader.failure ?? error)
  } finally {
    ended.abort()
  }
}

async function restoreLazily<Meta>(frame: StoredFrame, wish: RestoreWish): Promise<Restored<Meta>> {
  const { store } = frame
  const { transfer = [], ...recipe } = await recipeOf(store)
  const data = { recipe, isSealed: store instanceof SealedStore, files: filesOf(frame) }
  const { filling, native } = await fillLazily({
    path: storeName,
    callSite: new CallSite(restoreLazily),
    wish,
    start: (start) => startThread(start, data, transfer),
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

  constructor(frame: StoredFrame) {
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

async function fetchState(frame: StoredFrame): Promise<{ file: FileHandle; path: string } | undefined> {
  const { store, entry } = frame
  const { state } = objectsOf(entry)
  if (state === undefined) return undefined
  const spool = await makeSpool(frame.spool)
  try {
    const path = pathOf(spool.directory, entry.number, 'state')
    await downloadFile(path, { store, parts: state, signal: signalOf(frame) })
    const file = await open(path, 'r')
    try {
      await checkState(entry, path, file)
      return { file, path }
    } catch (error) {
      await file.close()
      throw error
    }
  } finally {
    await spool.remove()
  }
}
