/**
 * Promise: while a region is frozen, Node's own APIs can write into it, or fail with EFAULT where
 * that is documented and succeed once prepareWrite() has announced the write. Proved with every
 * page frozen, for files, sockets and APIs that write from user space.
 */

import { writeFileSync } from 'node:fs'
import { capabilities } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { allVariants } from '../support/variants.mjs'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()

describe.each(allVariants)('%s', (variant) => {
  test('writes of the kernel work or fail as documented, all others work, the file is exact', async (context) => {
    needsVariant(context, variant)
    const { pageSize } = capabilities()
    writeFileSync(inDirectory('data'), Buffer.alloc(4 * pageSize, 9))
    const program = startProgram('core-apis', [variant, inDirectory('file'), inDirectory('data')])
    const { found, ...rest } = await program.report()
    expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
    expect(rest).toEqual({
      inFlight: true,
      exact: true,
      small: { lost: 0, rest: 0 },
      secondExact: true,
      closed: 'ERR_STILLFRAME_CLOSED',
    })
    const works = { result: 2 * pageSize, right: true }
    const bySignal = variant === 'mprotect' || variant === 'userfaultfd signal'
    const unannounced = bySignal ? { code: 'EFAULT' } : works
    for (const api of ['readSync', 'read', 'filehandle', 'socket']) {
      expect({ api, ...found[api] }).toEqual({ api, ...unannounced })
      expect({ api, ...found[`${api} after prepareWrite()`] }).toEqual({ api, ...works })
    }
    // The kernel reports what it could write before the frozen page.
    expect(found['crossing']).toEqual(bySignal ? { result: pageSize, right: false } : works)
    expect(found['crossing after prepareWrite()']).toEqual(works)
    expect(found['unaligned after prepareWrite()']).toEqual({ result: pageSize + 2, right: true })
    for (const api of ['random', 'zlib', 'copy', 'encodeInto', 'atomics', 'view', 'writeSync']) {
      expect({ api, ...found[api] }).toMatchObject({ api, right: true })
    }
  })
})
