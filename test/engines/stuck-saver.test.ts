/**
 * Promise: a saver that makes no progress does not keep writers waiting: when it counts as stuck,
 * all protection is lifted. The service answers before and after that, and `done` reports it
 * without waiting for the saver (T13). Proved with a saver that is stopped for longer than the
 * timeout, and a writer that needs far more than the memory limit.
 */

import { expect, test } from 'vitest'
import { needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { inProcessVariants } from '../support/variants.mjs'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()

test.for(inProcessVariants)(
  '%s: writers go on, and requests are answered, while the saver is still stopped',
  async (variant, context) => {
    needsVariant(context, variant)
    const program = startProgram('stuck-saver', [variant, inDirectory('file')])
    expect(await program.report()).toEqual({
      answered: 3,
      stillHeld: true,
      code: 'ERR_STILLFRAME_STALLED',
      atOnce: 'ERR_STILLFRAME_BUSY',
      left: [],
      later: { ok: true },
    })
    expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
  },
)
