/**
 * Restores the memory of a frame from a store without a local copy of its files: either into fresh
 * memory, or lazily, with memory that is handed out before it has been fetched. Each block is
 * checked before it becomes visible.
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
  /** Where the file with the JavaScript objects is fetched to. */
  readonly spool: string
  readonly entry: KnownEntry
  /** The frame and its parents, newest first. */
  readonly chain: readonly KnownEntry[]
  readonly options: RestoreOptions
  /** If the restore resolves, it releases the lease once everything has been fetched. */
  readonly lease: Lease | undefined
}

/** True if {@link restoreStoredFrame} can restore the frame. Other restores need its files. */
export function needsNoFiles({ mode, into }: RestoreOptions): boolean {
  // JavaScript memory is filled in chunks, each of which would wait for the network.
  const destinations = Object.values(into ?? {})
  return mode !== 'map' && destinations.every(isRegion)
}

/** Returns what {@link StorePlace.restore} does, except for `skipped`. */
export async function restoreStoredFrame<Meta>(
  frame: StoredFrame,
): Promise<Omit<ArchiveRestored<Meta>, 'skipped'> & Restored<Meta>> {
  const { entry, lease } = frame
  // Contents of a store are always verified, whatever the options say.
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
  // A frame with damaged JavaScript objects is damaged.
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
    // The error of the store says more.
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
    // The thread must not inherit the options that the service was started with.
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

/** The JavaScript objects of a frame. They are fetched to a file while the memory is fetched. */
class FetchedState {
  /** Settles when the fetch has ended. */
  readonly isThere: Promise<unknown>
  readonly #file: Promise<{ file: FileHandle; path: string } | undefined>
  #isClosed = false

  constructor(frame: StoredFrame) {
    this.#file = fetchState(frame)
    this.isThere = this.#file
    // Readers of the objects get the error. Without any, it must not be an unhandled rejection.
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
