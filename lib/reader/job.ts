/** One piece of reading, from the call to what the caller gets. */

import { endianness } from 'node:os'
import { type CallSite, fromNative, StillframeError } from '../base/errors.js'
import { notify, ProgressClock, type ReadProgress } from '../base/progress.js'
import { Hashes } from './hashes.js'
import type { Tools } from './image-file.js'
import { Decompressor } from './zstd.js'

let tools: Promise<Tools> | undefined

/**
 * What reading takes, loaded once. A failed attempt is not remembered.
 *
 * @throws StillframeError `ERR_STILLFRAME_UNSUPPORTED_PLATFORM` on machines that would see other numbers in the
 *   memory than were written.
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

/** Turns what went wrong into what users get. `path`: undefined if there is no file. */
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

/** Counts what is done, tells the listener, and stops when the signal says so. */
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
   * Runs the work, which goes no further than its next step once the signal is aborted. Only what went well has
   * a last word on its progress.
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

/** What the work gives, or the signal's reason as soon as it is aborted: the work is then left to itself. */
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
