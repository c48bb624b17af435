/**
 * What the protocol needs from its process: a monotonic clock, sleep, and randomness. Tests replace
 * them. The time of day is deliberately missing: only the clock of the store dates its objects.
 */

import { randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'

export interface SleepOptions {
  /** Ends the sleep early, without throwing. */
  readonly signal?: AbortSignal | undefined
  /** True if the process may exit during the sleep. */
  readonly idle?: boolean
}

export interface Surroundings {
  /** Milliseconds since an arbitrary moment. */
  monotonicMs(): number
  sleep(ms: number, options?: SleepOptions): Promise<void>
  /** A globally unique name. */
  nonce(): string
  /** From 0 to below 1. */
  random(): number
}

/** The surroundings of this process. */
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

/**
 * Waits before attempt number `attempt` (from 1 on). Exponential backoff with full jitter, so that
 * several processes do not wait equally long.
 */
export async function backOff(
  surroundings: Surroundings,
  attempt: number,
  signal?: AbortSignal,
): Promise<void> {
  const longest = Math.min(longestPauseMs, firstPauseMs * 2 ** attempt)
  await surroundings.sleep(longest * surroundings.random(), { signal })
}
