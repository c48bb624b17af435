/**
 * Promise: nothing is lost, wrong or left behind however long a service keeps taking snapshots,
 * whatever happens meanwhile (T24). Proved by soak.mjs, for some seconds here, and for any time on
 * the command line.
 */

import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { testSeed } from '../support/random.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const minutes = longMode ? 20 : 0.2

test(`random captures, writes, aborts and faults, seed ${testSeed}`, {
  timeout: (minutes + 3) * 60_000,
}, async () => {
  const args = ['--minutes', String(minutes), '--seed', String(testSeed), '--directory', inDirectory()]
  const fixture = startFixture(new URL('soak.mjs', import.meta.url), args)
  let said = ''
  fixture.child.stdout?.on('data', (text: Buffer) => {
    said += text.toString()
  })
  expect(await fixture.end, said).toMatchObject({ status: 0, signal: null, stderr: '' })
  expect(said).toMatch(/rounds, all as promised/)
})
