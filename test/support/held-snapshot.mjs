/** A snapshot whose child is stopped in the middle, so that a test has all the time it wants. */

import { Region, snapshot } from 'stillframe'
import { fillPattern } from './pattern.mjs'
import { childrenOf, nameOf, spinUntil, stateOf } from './processes.mjs'

/** Takes the child long enough that it can be stopped in the middle: some 50 ms. */
export const longEnoughBytes = 64 << 20

/** Memory of that size, none of whose pages is zero. */
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
  const taken = snapshot(source, path, { engine: 'fork', nice: 0, ...options })
  const pid = childrenOf(process.pid).find((each) => !before.has(each))
  if (pid === undefined) throw new Error('the child of the snapshot was gone before it could be seen')
  return { taken, pid }
}

/**
 * Starts a snapshot and stops its child once it has shut itself off from the host and saves pages.
 *
 * @param {Parameters<typeof snapshot>} args
 */
export function holdSnapshot(...args) {
  const { taken, pid } = startSnapshot(...args)
  // It names itself last of all, just before the first page.
  spinUntil(() => nameOf(pid) === 'stillframe' || stateOf(pid) === undefined, 'the child saves pages')
  process.kill(pid, 'SIGSTOP')
  spinUntil(() => stateOf(pid) === 'T' || stateOf(pid) === 'Z', 'the child is stopped')
  if (stateOf(pid) !== 'T') throw new Error('the child had ended before it could be stopped')
  const release = () => {
    if (stateOf(pid) === 'T') process.kill(pid, 'SIGCONT')
  }
  return { taken, pid, release }
}
