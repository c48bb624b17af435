/**
 * Promise: restored memory equals the captured memory (I9), or the capture is refused. This
 * includes memory that a fork does not carry over unchanged (MADV_WIPEONFORK, MADV_DONTFORK), whose
 * advice is not changed. Proved with such memory of another addon, in whole and in part, aligned to
 * pages and not.
 */

import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()

// Constants of madvise(2).
const dontFork = 10
const wipeOnFork = 18

async function capture(...args: [kind: string, advice: number, from: number, length: number]) {
  const program = startProgram('not-carried-over', [inDirectory('file'), ...args])
  const { outcomes, exact, before, after } = await program.report()
  expect(await program.end).toMatchObject({ status: 0 })
  expect(after).toBe(before)
  return { outcomes, exact }
}

for (const kind of ['mapped', 'malloc']) {
  test(`${kind} memory without advice, and mapped memory that is DONTFORK as a whole, are captured`, async () => {
    expect(await capture(kind, 0, 0, 0)).toEqual({ outcomes: [{ ok: true }, { ok: true }], exact: true })
    if (kind === 'malloc') return
    expect(await capture(kind, dontFork, 0, 8)).toEqual({
      outcomes: [{ ok: true }, { ok: true }],
      exact: true,
    })
  })

  for (const [what, advice, from, length, word] of [
    ['WIPEONFORK in a part', wipeOnFork, 4, 1, 'MADV_WIPEONFORK'],
    ['WIPEONFORK nearly as a whole', wipeOnFork, 0, 7, 'MADV_WIPEONFORK'],
    ['DONTFORK in a part', dontFork, 4, 1, 'MADV_DONTFORK'],
    ['DONTFORK at its beginning', dontFork, 0, 1, 'MADV_DONTFORK'],
  ] as const) {
    test(`${kind} memory that is ${what} is refused, with the reason`, async () => {
      const { outcomes } = await capture(kind, advice, from, length)
      for (const outcome of outcomes) {
        expect(outcome).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE' })
        expect(outcome.message).toContain("section 'main'")
        expect(outcome.message).toContain(word)
      }
      expect(existsSync(inDirectory('file'))).toBe(false)
    })
  }
}
