// A finished capture may still be cleaning up: its threads end a moment later, and one of low
// priority merges huge pages again. A benchmark that measures the next capture by itself must wait
// for them.
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const PATIENCE_MS = 5000

const isBusy = () =>
  readdirSync('/proc/self/task').some((task) => {
    try {
      return readFileSync(`/proc/self/task/${task}/comm`, 'latin1').startsWith('stillframe')
    } catch {
      return false // has just ended
    }
  })

/** Resolves when the library has no more threads, or after a few seconds. */
export const quiet = async () => {
  const end = performance.now() + PATIENCE_MS
  while (isBusy() && performance.now() < end) await sleep(1)
}
