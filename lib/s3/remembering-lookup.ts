/**
 * Resolves new names on the threads of libuv's pool. For known names it returns the last answer at
 * once and refreshes an old one in the background: the pool may be waiting for the data that is
 * about to be fetched from that host.
 */

import { type LookupAddress, lookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setImmediate } from 'node:timers'

type Reply = Parameters<LookupFunction>[2]
type Answer = [address: string | LookupAddress[], family?: number]

const rememberedMs = 30_000

/** A lookup function for `http.Agent`. */
export function rememberingLookup(): LookupFunction {
  const answers = new Map<string, { readonly answer: Answer; readonly atMs: number }>()
  return (hostname, options, callback) => {
    const key = JSON.stringify([hostname, options])
    const ask = (reply: Reply): void => {
      lookup(hostname, options, (error, ...answer) => {
        if (error === null) answers.set(key, { answer, atMs: performance.now() })
        reply(error, ...answer)
      })
    }
    const known = answers.get(key)
    if (known === undefined) {
      ask(callback)
      return
    }
    if (performance.now() - known.atMs > rememberedMs) ask(() => {})
    setImmediate(() => callback(null, ...known.answer))
  }
}
