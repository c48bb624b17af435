/**
 * Retries requests a bounded number of times, after random pauses that keep clients from retrying
 * in step.
 */

import { setTimeout } from 'node:timers/promises'
import { untilAborted } from '../store/stream.js'
import { mayPass } from './answers.js'

/** Attempts on top of the client's own, which makes three for most failures. */
const attempts = 6

/** Maximum pause before the second attempt. The maximum doubles with each further attempt. */
const firstPauseMs = 100
const longestPauseMs = 5_000

/** Options that the client accepts with a command. */
export interface RequestOptions {
  readonly abortSignal?: AbortSignal
}

/** @throws the last error of `ask`; the reason of the signal. */
export async function persistently<Answer>(
  ask: (options: RequestOptions) => Promise<Answer>,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  const options = signal === undefined ? {} : { abortSignal: signal }
  for (let attempt = 1; ; attempt++) {
    if (signal?.aborted) throw signal.reason
    try {
      return await untilAborted(ask(options), signal)
    } catch (error) {
      // The client's error for an abort says less than the reason.
      if (signal?.aborted) throw signal.reason
      if (attempt === attempts || !mayPass(error)) throw error
    }
    await pause(Math.random() * Math.min(longestPauseMs, firstPauseMs * 2 ** (attempt - 1)), signal)
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  const done = new AbortController()
  try {
    await untilAborted(setTimeout(ms, undefined, { signal: done.signal }), signal)
  } finally {
    // Cancel the timer, so that it does not keep the process alive.
    done.abort()
  }
}
