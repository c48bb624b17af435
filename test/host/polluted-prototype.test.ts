/**
 * Promise: an option that is not given has its default, whatever another package has been tricked
 * into writing to `Object.prototype` (I8). Proved by planting every option there, and everything
 * that is passed to native code and returned by it, and comparing the results with those of an
 * unpolluted process.
 */

import { mkdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

test('options come from the options alone', async () => {
  const [clean, polluted] = await Promise.all(
    ['clean', 'polluted'].map(async (kind) => {
      mkdirSync(inDirectory(kind))
      const fixture = startFixture(new URL('fixtures/polluted-prototype.mjs', import.meta.url), [
        inDirectory(kind),
        kind,
      ])
      return await fixture.report()
    }),
  )
  expect(clean).toMatchObject({ 'without options': { mode: 0o600, layout: 'flat', metadata: 'none' } })
  expect(polluted).toEqual(clean)
})
