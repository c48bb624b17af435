/**
 * Promise: whatever kills the short-lived children that a heap job makes, the service can still
 * start its own processes. Proved by killing each child as soon as it appears, until some have died
 * before they had done their work.
 */

import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { childrenOf } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

test('children that are killed at once leave nothing of the service unforkable', async () => {
  const fixture = startFixture(new URL('fixtures/keep-saving.mjs', import.meta.url), [inDirectory('state')])
  expect(await fixture.report()).toEqual({ started: true })
  for (let look = 1; !fixture.hasReport; look++) {
    for (const pid of childrenOf(fixture.pid)) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {} // it had already ended
    }
    // The fixture's reports arrive through the event loop.
    if (look % 100 === 0) await new Promise(setImmediate)
  }
  const { outcomes } = await fixture.report()
  fixture.tell('go on')
  expect(await fixture.report()).toEqual({ status: 0, signal: null })
  expect(outcomes['probe killed']).toBeGreaterThan(0)
})
