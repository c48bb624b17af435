/**
 * Promise: if the kernel refuses to make memory writable again, writes continue, the capture fails,
 * or the process ends and says why; nothing waits forever. Proved by making every call that lifts a
 * protection fail from the freeze on: for a while, as long as nothing is written, and permanently;
 * and under a limit that makes the kernel itself refuse.
 */

import { describe, expect, test } from 'vitest'
import { needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { inProcessVariants } from '../support/variants.mjs'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()
const sound = { exact: true, next: { exact: true } }

describe.each(inProcessVariants)('%s', (variant) => {
  test('refused for a while: writes go on, and the capture succeeds or fails with a typed error', async (context) => {
    needsVariant(context, variant)
    const program = startProgram('refused-lift', [variant, inDirectory('file'), 'passing'])
    const { failure, ...rest } = await program.report()
    expect(rest).toEqual(sound)
    if (failure !== undefined) expect(failure.code).toBe('ERR_STILLFRAME_IO')
    expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
  })

  test('refused for as long as nobody writes: the end is told, and the next write and capture work', async (context) => {
    needsVariant(context, variant)
    const program = startProgram('refused-lift', [variant, inDirectory('file'), 'unwritten'])
    const { failure, ...rest } = await program.report()
    expect(rest).toEqual(sound)
    if (variant === 'mprotect')
      expect(failure).toMatchObject({ code: 'ERR_STILLFRAME_IO', syscall: 'mprotect' })
    expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
  })

  test('refused for ever: a write goes on, or the process ends and says why', async (context) => {
    needsVariant(context, variant)
    const program = startProgram('refused-lift', [variant, inDirectory('file'), 'written'])
    const { signal, stderr } = await program.end
    if (variant === 'mprotect') {
      expect(signal).toBe('SIGSEGV')
      expect(stderr).toContain('stillframe: the kernel refuses')
    } else {
      expect({ signal, stderr }).toEqual({ signal: null, stderr: '' })
      expect(await program.report()).toMatchObject(sound)
    }
  })
})

test('mprotect is not available where data is limited, auto takes another engine, and writes go on', async () => {
  const program = startProgram('limited-data', [inDirectory('file')])
  expect(await program.report()).toEqual({
    before: true,
    capability: { available: false, reason: expect.stringMatching(/RLIMIT_DATA/) },
    named: { code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE', says: true },
    auto: { engine: expect.not.stringMatching('mprotect'), exact: true },
  })
  expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
})
