/**
 * Promise: a restore into memory that cannot be written causes an error, and does not end the
 * service (I4). Proved in a separate process with buffers of another addon: read-only ones, and a
 * mapping of a truncated file.
 */

import { snapshot } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { compileLibrary } from '../support/compile.js'
import { startFixture } from '../support/fixture.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

describe.each(['none', 'zstd'] as const)('from a file, compression %s', (compression) => {
  test.each([
    ['readOnly', 7],
    // The writable part has been filled.
    ['cutShort', 3],
  ])('into memory that is %s', async (kind, first) => {
    const addon = inDirectory('memory_of_others.node')
    compileLibrary(new URL('fixtures/memory_of_others.c', import.meta.url), addon)
    await snapshot(new Uint8Array(5 << 20).fill(3), inDirectory('file'), { compression }).done
    const fixture = new URL('fixtures/into-memory-of-others.mjs', import.meta.url)
    const outcome = await startFixture(fixture, [addon, inDirectory('file'), kind]).report()
    expect(outcome).toMatchObject({
      ok: false,
      code: 'ERR_STILLFRAME_IO',
      syscall: 'read',
      message: expect.stringContaining('cannot be written'),
      first,
      goesOn: true,
    })
  })
})
