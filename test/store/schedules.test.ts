/**
 * Promise: whatever a store does to calls, and in whatever order two writers, a collector and
 * readers run, no frame reported as committed is lost or mixed up, an overtaken writer never
 * commits, no reader loses an object that its lease holds, and in the end no unneeded object is
 * left (T30).
 *
 * Proved by seeded schedules over the real code, in virtual time, with an oracle that sees every
 * change of the store. STILLFRAME_TEST_SCHEDULES=20000 runs that many.
 */

import { expect, test } from 'vitest'
import { testSeed } from '../support/random.mjs'
import { runSchedule, type Tally } from './schedules.js'

const schedules = Number(process.env['STILLFRAME_TEST_SCHEDULES'] ?? 2000)

test(`every schedule keeps what was promised, from seed ${testSeed} on`, { timeout: 3_000_000 }, async () => {
  const tally: Tally = new Map()
  const { stackTraceLimit } = Error
  // The stack traces of a store's errors would take most of the time.
  if (schedules > 1) Error.stackTraceLimit = 0
  try {
    for (let index = 0; index < schedules; index++) await runSchedule(testSeed + index, tally)
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
  if (process.env['STILLFRAME_TEST_TALLY']) console.log(Object.fromEntries([...tally].sort()))
  if (schedules < 500) return
  // An event that occurs in no schedule would not be tested at all.
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
