/** The forked copy behind a capture, seen from outside: found in /proc, stopped and continued by signal. */

import { readdirSync, readFileSync } from 'node:fs'

/** Processes whose parent is this one. */
function children(): Set<number> {
  const found = new Set<number>()
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'latin1')
      // The name, in parentheses, may contain anything; the parent is the second field behind it.
      const parent = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
      if (Number(parent) === process.pid) found.add(Number(entry))
    } catch {
      // ended in between
    }
  }
  return found
}

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
  const before = children()
  const value = start()
  const stopped = [...children()].filter((pid) => !before.has(pid) && signal(pid, 'SIGSTOP'))
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
