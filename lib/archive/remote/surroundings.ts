/**
 * What the protocol takes from its process besides the store: a clock that only goes forward, sleep, and chance. Tests put
 * their own in its place. The time of day is not among it: of what lies in the store only the store's own clock speaks.
 */

import { randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'

export interface SleepOptions {
  /** Ends the sleep at once; it does not throw. */
  readonly signal?: AbortSignal | undefined
  /** True: the process may end meanwhile. */
  readonly idle?: boolean
}

export interface Surroundings {
  /** Milliseconds since some moment. */
  monotonicMs(): number
  sleep(ms: number, options?: SleepOptions): Promise<void>
  /** A name that nobody else has had, or will. */
  nonce(): string
  /** From 0 to below 1. */
  random(): number
}

/** Those of this process. */
export const realSurroundings: Surroundings = {
  monotonicMs: () => performance.now(),
  async sleep(ms, { signal, idle = false } = {}) {
    await setTimeout(ms, undefined, { ref: !idle, ...(signal && { signal }) }).catch(() => {})
  },
  nonce: () => randomUUID(),
  random: () => Math.random(),
}

const firstPauseMs = 100
const longestPauseMs = 5_000

/** Waits before attempt number `attempt` (from 1 on): longer each time, and never as long as others (full jitter). */
export async function backOff(
  surroundings: Surroundings,
  attempt: number,
  signal?: AbortSignal,
): Promise<void> {
  const longest = Math.min(longestPauseMs, firstPauseMs * 2 ** attempt)
  await surroundings.sleep(longest * surroundings.random(), { signal })
}
