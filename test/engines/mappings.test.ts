/**
 * Promise: scattered writes never use up the mappings of a process, do not make a capture by
 * mprotect fail, and leave as many mappings as before. Proved by writing to every second page of
 * 512 MiB while the saver is stopped, and by the same in a process that has hardly any mappings
 * left.
 */

import { describe, expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()
/** V8 adds and drops a few mappings of its own; collecting garbage may merge some of them. */
const slack = 60

async function write(mib: number, huge: boolean, onLimit: string, left: number) {
  const program = startProgram('mappings', [inDirectory('file'), mib, huge ? 1 : 0, onLimit, left])
  const report = await program.report()
  expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
  const { baseline, peak, after, maxMappings } = report
  console.log(
    `${mib} MiB, huge pages ${huge}: ${baseline} mappings, at most ${peak} of ${maxMappings}, then ${after}`,
  )
  return report
}

describe.each([true, false])('huge pages: %s', (huge) => {
  test('65,536 isolated pages are written, and the mappings are as before', async () => {
    const { done, saved, expected, lost, baseline, peak, after, ofRegion, maxMappings } = await write(
      512,
      huge,
      'wait',
      0,
    )
    expect({ done, saved, lost }).toEqual({ done: { ok: true }, saved: expected, lost: 0 })
    // Mappings were scarce, and room was left for others.
    expect(peak - baseline).toBeGreaterThan(8_000)
    expect(maxMappings - peak).toBeGreaterThan(8_000)
    expect(ofRegion).toBe(1)
    expect(Math.abs(after - baseline)).toBeLessThan(slack)
  })
})

test.each(['wait', 'abort'])(
  "a process with 400 mappings left is captured too (onMemoryLimit '%s')",
  async (onLimit) => {
    const { done, saved, expected, lost, ofRegion } = await write(128, true, onLimit, 400)
    expect({ done, saved, lost }).toEqual({ done: { ok: true }, saved: expected, lost: 0 })
    expect(ofRegion).toBe(1)
  },
)
