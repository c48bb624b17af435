/** The forked copy behind a capture, seen from outside: found in /proc, stopped and continued by signal. */

import { childrenOf, hasEnded, spinUntil, stateOf } from '../support/processes.mjs'

/** A capture whose saving waits until it is let go. */
export interface Held<T> {
  readonly value: T
  /** Lets the copy go on; does nothing the second time. */
  release(): void
}

/**
 * Runs `start`, and stops the process that it forked: what the test writes then is written while the capture
 * runs, before nearly all of the memory has been read. A copy that is quicker than that is not held.
 */
export function hold<T>(start: () => T): Held<T> {
  const before = new Set(childrenOf(process.pid))
  const value = start()
  const stopped = childrenOf(process.pid).filter((pid) => !before.has(pid) && signal(pid, 'SIGSTOP'))
  // On another processor it goes on for a moment.
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
