/**
 * Promise: whatever a store does to calls, and in whatever order two writers, a collector and readers come, no frame that was told
 * committed is lost or mixed up, a writer that was overtaken never commits, nobody loses what a lease holds, and in the end
 * nothing is left that nobody needs (T30).
 *
 * Proved by seeded schedules over the real code, in virtual time, with an oracle that sees every change of the store.
 * STILLFRAME_TEST_SCHEDULES=20000 runs so many.
 */

import { expect, test } from 'vitest'
import { testSeed } from '../support/random.mjs'
import { runSchedule, type Tally } from './schedules.js'

const schedules = Number(process.env['STILLFRAME_TEST_SCHEDULES'] ?? 2000)

test(`every schedule keeps what was promised, from seed ${testSeed} on`, { timeout: 3_000_000 }, async () => {
  const tally: Tally = new Map()
  const { stackTraceLimit } = Error
  // Stacks of the errors of a store take most of the time.
  if (schedules > 1) Error.stackTraceLimit = 0
  try {
    for (let index = 0; index < schedules; index++) await runSchedule(testSeed + index, tally)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
  if (process.env['STILLFRAME_TEST_TALLY']) console.log(Object.fromEntries([...tally].sort()))
  if (schedules < 500) return
  // What none of them came to would be proved of nothing.
  const events = [
    'committed',
    'committed again',
    'data removed',
    'collected something',
    'collected beside a lease',
    'fenced',
    'gave up',
    'leased',
    'lease lapsed',
    'read',
    'went on with an upload',
    'writer killed',
  ]
  expect(events.filter((event) => (tally.get(event) ?? 0) < 5)).toEqual([])
})
