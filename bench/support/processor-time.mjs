// CPU time of a process and of the children that it has waited for.
import { readFileSync } from 'node:fs'

// USER_HZ, the unit of /proc/PID/stat, is 100 on all machines that Node runs on.
const SECONDS_PER_TICK = 0.01

/** Seconds, in steps of a hundredth: `own`, and `waitedFor` for children that have ended. */
export const processorSeconds = (pid) => {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The name in parentheses may contain any characters; the third field of the file follows it.
  const ticks = text
    .slice(text.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15)
    .map(Number)
  return {
    own: (ticks[0] + ticks[1]) * SECONDS_PER_TICK,
    waitedFor: (ticks[2] + ticks[3]) * SECONDS_PER_TICK,
  }
}
