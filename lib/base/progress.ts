/** Progress of a job, and its delivery to listeners. */

import process from 'node:process'
import { clearInterval, setInterval } from 'node:timers'

/** Counters of a running capture. They only increase. */
export interface SnapshotProgress {
  /** Bytes of the sources processed so far, including zero pages, which are not written. */
  bytesDone: number
  /** Bytes of all sources. */
  bytesTotal: number
  /** Bytes written to the file so far. */
  bytesWritten: number
  /**
   * Bytes that copy-on-write takes or has taken; with fork, an estimate from the kernel's counters.
   */
  copiedBytes: number
  /** Milliseconds left at the average rate so far; absent until a rate is known. */
  etaMs?: number
}

/** Counters of a running `verify()` or `restore()`. */
export interface ReadProgress {
  /** Bytes of the file checked or copied so far. */
  bytesDone: number
  bytesTotal: number
}

// Captured at import, before a test's fake timers replace it.
const { nextTick } = process

// Ten updates per second make a progress bar look smooth; a service does not notice ten wake-ups.
const intervalMs = 100

/**
 * One interval timer for all listeners of a job. It exists only while there are listeners, and
 * never keeps the process alive: that is up to the job itself.
 */
export class ProgressClock {
  readonly #listeners = new Set<() => void>()
  #timer: NodeJS.Timeout | undefined

  /**
   * Calls `listener` about every 100 ms until it is removed, and once more at the end. It must not
   * throw.
   */
  add(listener: () => void): void {
    this.#listeners.add(listener)
    this.#timer ??= setInterval(() => {
      for (const each of [...this.#listeners]) each()
    }, intervalMs).unref()
  }

  remove(listener: () => void): void {
    this.#listeners.delete(listener)
    if (this.#listeners.size === 0) this.#clear()
  }

  /** The job has ended: calls all listeners a last time and forgets them. */
  stop(): void {
    this.#clear()
    const listeners = [...this.#listeners]
    this.#listeners.clear()
    for (const each of listeners) each()
  }

  #clear(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

/**
 * Calls the caller's function. If it throws, the error is raised as an uncaught exception a moment
 * later, as from an event listener: it is the caller's bug, and must neither be swallowed nor end a
 * healthy capture.
 */
export function notify<T>(callback: (value: T) => void, value: T): void {
  try {
    callback(value)
  } catch (error) {
    nextTick(() => {
      throw error
    })
  }
}

/** Milliseconds left at the average rate so far, if a rate is known. */
export function estimateMs(elapsedMs: number, done: number, total: number): number | undefined {
  if (done >= total) return 0
  if (done <= 0 || elapsedMs <= 0) return undefined
  return (elapsedMs * (total - done)) / done
}
