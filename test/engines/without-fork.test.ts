/**
 * Promise: if a forked copy could not be killed or could not be waited for, none is made, and every
 * caller is told why (I4, I5, I11). Proved behind filters of the system calls that kill it and wait
 * for it, and with calls that fail only later.
 */

import { readdirSync } from 'node:fs'
import { snapshot } from 'stillframe'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { compileProgram } from '../support/compile.js'
import { rejectionOf } from '../support/expect-error.js'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { bigRegion, holdSnapshot } from '../support/held-snapshot.mjs'
import { isGone } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { startProgram, toolPath, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()
beforeAll(() => {
  compileProgram(new URL('fixtures/without_call.c', import.meta.url), toolPath('without_call'))
})

describe('behind a filter that refuses', () => {
  for (const call of ['pidfd_send_signal', 'waitid']) {
    for (const [error, number] of [
      ['ENOSYS', 38],
      ['EPERM', 1],
      ['EINVAL', 22],
    ]) {
      test(`${call} (${error}) nothing is forked, and no child is left`, async () => {
        const program = startProgram('without-fork', [inDirectory()], {
          wrapper: [toolPath('without_call'), call, String(number)],
        })
        const { fork, outcomes, children, files } = await program.report()
        const missing =
          call === 'waitid' && error === 'EINVAL' ? 'no pidfds to wait for' : `must allow ${call}`
        expect(fork).toMatchObject({ available: false, reason: expect.stringContaining(missing) })
        for (const outcome of outcomes) {
          expect(outcome).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE' })
          expect(outcome.message).toContain(fork.reason)
        }
        expect({ children, files }).toEqual({ children: 0, files: [] })
        expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
      })
    }
  }

  test('setpgid a copy is made all the same', async () => {
    const program = startProgram('without-fork', [inDirectory()], {
      wrapper: [toolPath('without_call'), 'setpgid', '1'],
    })
    const { fork, outcomes, children } = await program.report()
    expect(fork).toEqual({ available: true, reason: '' })
    expect(outcomes).toEqual([{ ok: true }, { ok: true }, { ok: true }])
    expect(children).toBe(0)
  })
})

describe('when it is refused only later', () => {
  test('to end a copy by its pidfd, it is ended by its process id', async () => {
    const { taken, pid } = holdSnapshot(bigRegion(), inDirectory('file'))
    injectFault('pidfd_send_signal', 1, 'EPERM', true)
    onTestFinished(() => void clearFaults())
    taken.abort()
    expect((await rejectionOf(taken.done)).name).toBe('AbortError')
    expect(isGone(pid)).toBe(true)
    expect(readdirSync(inDirectory())).toEqual([])
  })

  test('to wait for a copy by its pidfd, it is waited for by its process id', async () => {
    const { taken, pid, release } = holdSnapshot(bigRegion(), inDirectory('file'))
    injectFault('waitid', 1, 'EPERM', true)
    onTestFinished(() => void clearFaults())
    release()
    await taken.done
    expect(isGone(pid)).toBe(true)
    await snapshot(new Uint8Array(10), inDirectory('file')).done
  })
})
