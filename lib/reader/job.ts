/** Helpers for one read operation, from the call to its result. */

import { endianness } from 'node:os'
import { type CallSite, fromNative, StillframeError } from '../base/errors.js'
import { notify, ProgressClock, type ReadProgress } from '../base/progress.js'
import { Hashes } from './hashes.js'
import type { Tools } from './image-file.js'
import { Decompressor } from './zstd.js'

let tools: Promise<Tools> | undefined

/**
 * Loads the hashes and the decompressor, once. A failed attempt is not cached.
 *
 * @throws StillframeError `ERR_STILLFRAME_UNSUPPORTED_PLATFORM` on big-endian machines, where typed
 *   arrays over the memory would show other numbers than were written.
 */
export async function loadTools(): Promise<Tools> {
  if (endianness() !== 'LE') {
    throw new StillframeError(
      'ERR_STILLFRAME_UNSUPPORTED_PLATFORM',
      'the memory in a snapshot is little-endian, and this machine is big-endian: typed arrays over it would show ' +
        'other numbers. Read the snapshot on another machine.',
    )
  }
  tools ??= Promise.all([Hashes.load(), Decompressor.load()]).then(([hashes, decompressor]) => {
    return { hashes, decompressor }
  })
  return await tools.catch((error: unknown) => {
    tools = undefined
    throw error
  })
}

/** Runs `work` and converts its errors to public ones. `path`: undefined if there is no file. */
export async function told<Value>(
  path: string | undefined,
  callSite: CallSite,
  work: () => Promise<Value>,
): Promise<Value> {
  try {
    return await work()
  } catch (error) {
    throw fromNative(error, path, callSite)
  }
}

/** Counts progress, reports it, and stops the work when the signal is aborted. */
export class Steps {
  readonly #signal: AbortSignal | undefined
  readonly #clock = new ProgressClock()
  readonly #progress: ReadProgress
  readonly #report: () => void

  constructor(
    bytesTotal: number,
    signal: AbortSignal | undefined,
    onProgress: ((progress: ReadProgress) => void) | undefined,
  ) {
    this.#signal = signal
    this.#progress = { bytesDone: 0, bytesTotal }
    this.#report = () => {
      if (onProgress !== undefined) notify(onProgress, { ...this.#progress })
    }
    if (onProgress !== undefined) this.#clock.add(this.#report)
  }

  /** @throws the signal's reason. */
  readonly take = (bytes: number): void => {
    this.#signal?.throwIfAborted()
    this.#progress.bytesDone += bytes
  }

  /**
   * Runs the work, which stops at its next step once the signal is aborted. The final progress is
   * reported only if the work succeeds.
   */
  async run<Value>(work: () => Promise<Value>): Promise<Value> {
    try {
      const value = await unlessAborted(work, this.#signal)
      this.#signal?.throwIfAborted()
      this.#clock.stop()
      return value
    } catch (error) {
      this.#clock.remove(this.#report)
      throw error
    }
  }
}

/**
 * Settles like the work, or rejects with the signal's reason as soon as it is aborted. The work is
 * then no longer awaited.
 */
export async function unlessAborted<Value>(
  work: () => Promise<Value>,
  signal: AbortSignal | undefined,
): Promise<Value> {
  if (signal === undefined) return await work()
  signal.throwIfAborted()
  let onAbort: () => void = () => {}
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason)
  })
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([work(), aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
