/**
 * The forked copy of a capture, controlled from outside: found in /proc, stopped and continued by
 * signal.
 */

import { childrenOf, hasEnded, spinUntil, stateOf } from '../support/processes.mjs'

/** A capture whose copy is stopped until it is released. */
export interface Held<T> {
  readonly value: T
  /** Lets the copy continue; does nothing on later calls. */
  release(): void
}

/**
 * Runs `start` and stops the process that it forked, so that the test's next writes happen during
 * the capture, before most of the memory has been read. A copy that finishes sooner is not held.
 */
export function hold<T>(start: () => T): Held<T> {
  const before = new Set(childrenOf(process.pid))
  const value = start()
  const stopped = childrenOf(process.pid).filter((pid) => !before.has(pid) && signal(pid, 'SIGSTOP'))
  // On another processor, it continues for a moment.
  for (const pid of stopped) spinUntil(() => stateOf(pid) === 'T' || hasEnded(pid), 'the copy stands still')
  return {
    value,
    release: () => {
      for (const pid of stopped.splice(0)) signal(pid, 'SIGCONT')
    },
  }
}

function signal(pid: number, name: 'SIGSTOP' | 'SIGCONT'): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}
