/**
 * Promise: capabilities() and preflight() report risks in the state of the process (I11): mappings
 * that run out, and threads that block a fault signal. Proved in processes in such a state, and in
 * one that is not.
 */

import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()

async function hazardsWith(signal: number, left: number): Promise<{ code: string; message: string }[]> {
  const program = startProgram('hazards', [inDirectory(), signal, left])
  const { ofMachine, ofCapture } = await program.report()
  const codes = (hazards: { code: string }[]): string[] => hazards.map(({ code }) => code)
  expect(codes(ofCapture)).toEqual(codes(ofMachine))
  expect(await program.end).toMatchObject({ status: 0 })
  return ofMachine
}

test('a process in good order has none of these', async () => {
  expect(await hazardsWith(0, 0)).toEqual([])
})

for (const [name, engine] of [
  ['SIGSEGV', /mprotect/],
  ['SIGBUS', /userfaultfd/],
] as const) {
  test(`a thread that blocks ${name} is named, with the engine that it costs`, async () => {
    const [hazard, ...more] = await hazardsWith(constants.signals[name], 0)
    expect(more).toEqual([])
    expect(hazard?.code).toBe('SIGNAL_BLOCKED')
    expect(hazard?.message).toMatch(new RegExp(`'blocks-it' \\(\\d+\\) blocks ${name}`))
    expect(hazard?.message).toMatch(engine)
  })
}

test('mappings that run out are counted, with what to change', async (context) => {
  const limit = readFileSync('/proc/sys/vm/max_map_count', 'utf8').trim()
  if (Number(limit) > 300_000) context.skip(`vm.max_map_count is ${limit}: too many to use up`)
  const [hazard, ...more] = await hazardsWith(0, 4000)
  expect(more).toEqual([])
  expect(hazard?.code).toBe('MAPPINGS_SHORT')
  expect(hazard?.message).toContain(`of the ${limit} mappings`)
  expect(hazard?.message).toContain('sysctl vm.max_map_count')
})
