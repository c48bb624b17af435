/** Asking again, a bounded number of times, at moments that others do not choose too. */

import { setTimeout } from 'node:timers/promises'
import { untilAborted } from '../store/stream.js'
import { mayPass } from './answers.js'

/** Beside those of the client, which makes three of its own for most failures. */
const attempts = 6

/** The longest pause before the second attempt; each later one may be twice as long. */
const firstPauseMs = 100
const longestPauseMs = 5_000

/** What the client takes beside a command. */
export interface RequestOptions {
  readonly abortSignal?: AbortSignal
}

/** @throws what `ask` has thrown last; the reason of the signal. */
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
      // The client's own error for it says less.
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
    // Nothing keeps the process alive for the rest of it.
    done.abort()
  }
}
