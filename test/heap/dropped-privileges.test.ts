/**
 * Promise: a service that starts as root and drops its privileges can use the whole package,
 * although the kernel then hides the details of its children from it, as those of any process that
 * is not dumpable. Proved with such a service.
 */

import { chmodSync } from 'node:fs'
import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { needsReadableCheckout, needsRoot, needsTools } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

test('a service that has dropped root takes jobs and snapshots, within their memory limit', async (context) => {
  needsRoot(context, 'to drop it')
  needsTools(context, 'setpriv')
  needsReadableCheckout(context, ['setpriv', '--reuid=65534', '--clear-groups', '--'])
  chmodSync(inDirectory(), 0o777)
  const fixture = startFixture(new URL('fixtures/drops-root.mjs', import.meta.url), [inDirectory()])
  expect(await fixture.report()).toEqual({
    dumpable: false,
    capable: { available: true, reason: '' },
    state: { ok: true },
    heap: { ok: true },
    fork: { ok: true },
    overwritten: expect.objectContaining({ code: 'ERR_STILLFRAME_MEMORY_LIMIT' }),
    beyondLimit: expect.objectContaining({ code: 'ERR_STILLFRAME_MEMORY_LIMIT' }),
  })
  expect(await fixture.end).toMatchObject({ status: 0, stderr: '' })
})
