// A capture that has ended may still be tidying up behind the scenes: its threads end a moment later, and
// one of low priority puts huge pages together again. Whoever measures the next one alone waits for them.
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

/** Resolves when the library has no thread any more, or after a few seconds. */
export const quiet = async () => {
  const end = performance.now() + PATIENCE_MS
  while (isBusy() && performance.now() < end) await sleep(1)
}
