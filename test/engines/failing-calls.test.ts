/**
 * Promise: whichever system call of the freezer, the fault handler or the saver fails, the capture
 * succeeds or fails with a typed error, the memory is exact and writable, and the next capture
 * works. Proved by making the first, the second, the third ... such call fail until a capture makes
 * no more of them.
 */

import { describe, expect, test } from 'vitest'
import type { Report } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { inProcessVariants, type Variant } from '../support/variants.mjs'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()

interface FailingCall {
  call: string
  errors: readonly string[]
  /** Also tests a permanent failure. For mprotect, refused-lift.test.ts does so. */
  forever?: boolean
  /** Minimum number of captures that must fail; 0 if a capture can do without the call. */
  fails?: number
}

const calls: Record<Exclude<Variant, 'fork'> | 'all', readonly FailingCall[]> = {
  mprotect: [{ call: 'mprotect', errors: ['ENOMEM'], fails: 1 }],
  'userfaultfd thread': [
    { call: 'userfaultfd', errors: ['EMFILE', 'EPERM'], forever: true },
    { call: 'ioctl', errors: ['ENOMEM', 'EAGAIN'], forever: true, fails: 1 },
    { call: 'read', errors: ['EAGAIN', 'EIO'] },
  ],
  'userfaultfd signal': [
    { call: 'userfaultfd', errors: ['EMFILE'], forever: true, fails: 1 },
    { call: 'ioctl', errors: ['ENOMEM', 'EAGAIN'], forever: true, fails: 1 },
  ],
  all: [
    { call: 'eventfd2', errors: ['EMFILE'], forever: true, fails: 1 },
    { call: 'mmap', errors: ['ENOMEM'], forever: true, fails: 1 },
    { call: 'madvise', errors: ['EINVAL'], forever: true },
    { call: 'pwrite', errors: ['EIO', 'ENOSPC'], forever: true, fails: 1 },
    { call: 'ppoll', errors: ['EINTR'] },
    { call: 'ppoll', errors: ['ENOMEM'], forever: true },
    { call: 'futex', errors: ['EINTR'], forever: true },
    { call: 'prctl', errors: ['EPERM'], forever: true },
    { call: 'openat', errors: ['EMFILE'] },
  ],
}

/** CI tests the calls common to all variants only with the variant that has the most threads. */
const inAll = 'userfaultfd thread'
const cases = inProcessVariants.flatMap((variant) =>
  [...calls[variant], ...(longMode || variant === inAll ? calls.all : [])].flatMap(
    ({ call, errors, forever = false, fails = 0 }) =>
      (longMode ? errors : errors.slice(0, 1)).flatMap((error) =>
        [0, ...(forever ? [1] : [])].map((again) => ({ variant, call, error, again, fails })),
      ),
  ),
)

describe.each(inProcessVariants)('%s', (variant) => {
  const own = cases.filter((each) => each.variant === variant)
  test.for(own)(
    '$call fails with $error (all later ones too: $again)',
    async ({ call, error, again, fails }, context) => {
      needsVariant(context, variant)
      const program = startProgram('failing-call', [variant, inDirectory('file'), call, error, again])
      let last: Report = {}
      while (last['problems'] === undefined) last = { ...last, ...(await stepOf(program, last)) }
      expect(last['problems']).toEqual([])
      expect(last['steps']).toBeLessThan(2000)
      expect(last['failed']).toBeGreaterThanOrEqual(fails)
      expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
    },
  )
})

/** The next report. If the process hangs or dies, the error names the call. */
async function stepOf(program: ReturnType<typeof startProgram>, last: Report): Promise<Report> {
  try {
    return await program.report()
  } catch (error) {
    throw new Error(`at call ${last['step']}`, { cause: error })
  }
}
