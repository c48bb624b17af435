/**
 * Promise: busy V8 threads never block the service. The call returns, and the job freezes at a
 * later instant, or not at all if the caller has disabled retries. Proved with a thread that stays
 * busy until the program, back from the call, releases it.
 */

import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

async function whenBusy(what: string): Promise<Record<string, unknown>> {
  const fixture = startFixture(new URL('fixtures/busy-thread.mjs', import.meta.url), [inDirectory(), what], {
    env: { STILLFRAME_DISABLE: '' },
  })
  const report = await fixture.report()
  expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
  return report
}

const aWhole = { left: ['file'], next: { ok: true } }
const nothing = { left: [], next: { ok: true } }

test('a job is of a later instant, which it tells, in the async context of its caller', async () => {
  expect(await whenBusy('later')).toEqual({
    seen: {
      atReturn: { pid: 0, bytesWritten: 0 },
      attempts: expect.any(Number),
      consistent: true,
      contexts: ['of the caller'],
      text: 'a later instant, of the caller',
    },
    ...aWhole,
  })
})

test('a heap snapshot is taken later', async () => {
  expect(await whenBusy('heap')).toEqual({ seen: { later: true }, ...aWhole })
})

test('a job that may only be of the instant of the call throws, and leaves nothing', async () => {
  const { seen, ...rest } = await whenBusy('throws')
  expect(seen).toEqual({
    name: 'StillframeError',
    code: 'ERR_STILLFRAME_BUSY',
    message: expect.stringContaining("V8's threads, which compile and collect garbage"),
    ofTheCaller: true,
  })
  expect(rest).toEqual(nothing)
})

test('a job waits no longer than it may stall', async () => {
  const { seen, ...rest } = await whenBusy('forEver')
  expect(seen).toEqual({
    name: 'StillframeError',
    code: 'ERR_STILLFRAME_BUSY',
    message: expect.stringContaining('in 200 ms'),
    ofTheCaller: true,
  })
  expect(rest).toEqual(nothing)
})

test('a job that waits can be aborted', async () => {
  expect(await whenBusy('abort')).toEqual({ seen: { name: 'AbortError', pid: 0 }, ...nothing })
})

test('a job that waits can be aborted by its signal', async () => {
  expect(await whenBusy('signal')).toEqual({ seen: { reason: 'no longer' }, ...nothing })
})

test('the progress of a job that waits can be iterated over, to its end', async () => {
  expect(await whenBusy('iterate')).toEqual({ seen: { last: 'the call, undefined'.length }, ...aWhole })
})
