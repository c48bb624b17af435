/**
 * Promise: what is not given as an option has its default, whatever another package has been tricked into writing to
 * `Object.prototype` (I8). Proved by planting every option there, and what native code is handed and hands back, and
 * comparing what comes of it with a sound process.
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
