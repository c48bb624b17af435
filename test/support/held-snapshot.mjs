/** A snapshot whose child is stopped halfway, so that a test has as much time as it needs. */

import { Region, snapshot } from 'stillframe'
import { fillPattern } from './pattern.mjs'
import { childrenOf, nameOf, spinUntil, stateOf } from './processes.mjs'

/** Takes the child half a second to save at this rate, long enough to stop it halfway. */
export const longEnoughBytes = 64 << 20
const maxBytesPerSecond = 2 * longEnoughBytes

/** Memory of {@link longEnoughBytes} without a zero page. */
export function bigRegion() {
  const region = Region.allocate(longEnoughBytes)
  fillPattern(region.buffer, 1)
  return region
}

/**
 * Starts a snapshot. The sources should have {@link longEnoughBytes} that are not zero.
 *
 * @param {Parameters<typeof snapshot>} args
 */
export function startSnapshot(source, path, options) {
  const before = new Set(childrenOf(process.pid))
  const taken = snapshot(source, path, { engine: 'fork', nice: 0, maxBytesPerSecond, ...options })
  const pid = childrenOf(process.pid).find((each) => !before.has(each))
  if (pid === undefined) throw new Error('the child of the snapshot was gone before it could be seen')
  return { taken, pid }
}

/**
 * Starts a snapshot and stops its child once the child has detached from the host and is saving
 * pages.
 *
 * @param {Parameters<typeof snapshot>} args
 */
export function holdSnapshot(...args) {
  const { taken, pid } = startSnapshot(...args)
  // The child sets its name last, just before the first page.
  spinUntil(() => nameOf(pid) === 'stillframe' || stateOf(pid) === undefined, 'the child saves pages')
  try {
    process.kill(pid, 'SIGSTOP')
  } catch {} // it has ended, which is told below
  spinUntil(
    () => stateOf(pid) === undefined || stateOf(pid) === 'T' || stateOf(pid) === 'Z',
    'the child is stopped',
  )
  if (stateOf(pid) !== 'T') throw new Error('the child had ended before it could be stopped')
  const release = () => {
    if (stateOf(pid) === 'T') process.kill(pid, 'SIGCONT')
  }
  return { taken, pid, release }
}
