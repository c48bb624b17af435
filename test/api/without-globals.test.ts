/**
 * Promise: the package does not depend on the globals of Node after its import: a service may
 * remove or freeze them, or a test runner may fake them. Proved by programs that do each, and then
 * take, abort, read and verify snapshots.
 */

import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

test.each(['throw', 'delete', 'fake', 'freeze'])('globals that the service makes: %s', async (how) => {
  const url = new URL('fixtures/without-globals.mjs', import.meta.url)
  const program = startFixture(url, [inDirectory(), how])
  expect(await program.report()).toEqual({ snapshot: { ok: true }, steps: true })
  expect(await program.report()).toEqual({ restored: true, verified: true })
  expect(await program.report()).toMatchObject({ aborted: { ok: false, name: 'AbortError' } })
  expect(await program.report()).toEqual({ state: { ok: true } })
  expect(await program.report()).toEqual({ values: [[1, 2, 3]] })
  if (how === 'fake') expect(await program.report()).toEqual({ raised: 'of the listener' })
  expect(await program.end).toMatchObject({ status: 0, signal: null, stderr: '' })
})
