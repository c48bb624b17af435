/**
 * Promise: a capture survives everything that JavaScript does to its memory, ends cleanly with its
 * thread or process, coexists with other captures, and leaves nothing behind. Proved for each
 * engine with one program per event, with the saver stopped halfway where the moment matters.
 */

import { existsSync, readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { longMode } from '../support/long-mode.mjs'
import { needsVariant } from '../support/needs.js'
import { temporaryFilesIn, useTemporaryDirectory } from '../support/temporary-directory.js'
import { inProcessVariants } from '../support/variants.mjs'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()

describe.each(inProcessVariants)('%s', (variant) => {
  async function play(name: string, count = 0) {
    const program = startProgram('lifetimes', [variant, inDirectory(), name, count])
    const report = await program.report(longMode ? 240_000 : undefined)
    const end = await program.end
    expect(temporaryFilesIn(inDirectory())).toEqual([])
    return { report, end }
  }

  /** The report of a program that ends successfully. */
  async function factsOf(name: string, count = 0) {
    const { report, end } = await play(name, count)
    expect(end).toEqual({ status: 0, signal: null, stderr: '' })
    return report
  }

  test('close() is refused while the region is frozen, and works afterwards', async (context) => {
    needsVariant(context, variant)
    expect(await factsOf('close')).toMatchObject({
      whileArmed: 'ERR_STILLFRAME_BUSY',
      closed: 'ERR_STILLFRAME_CLOSED',
    })
  })

  test('a frozen region and its snapshot that nobody refers to are saved all the same', async (context) => {
    needsVariant(context, variant)
    const { saved, expected } = await factsOf('dropped')
    expect(saved).toEqual(expected)
  })

  test('aborted at any moment, the memory is exact and the next snapshot works', async (context) => {
    needsVariant(context, variant)
    const count = longMode ? 1000 : 60
    const { seed, outcomes, memory, expected, next } = await factsOf('aborts', count)
    expect(outcomes.other, `seed ${seed}`).toEqual([])
    expect(outcomes.aborted + outcomes.complete).toBe(count)
    expect(outcomes.aborted).toBeGreaterThan(0)
    expect({ memory, next }, `seed ${seed}`).toEqual({ memory: expected, next: true })
  })

  test('a Worker may end in any way during its capture; the main thread goes on capturing', async (context) => {
    needsVariant(context, variant)
    const { ends } = await factsOf('workerEnds')
    expect(ends).toEqual(Array(4).fill({ ok: true }))
  })

  test('process.exit() during a capture ends the process with its status', async (context) => {
    needsVariant(context, variant)
    const { end } = await play('exit')
    expect(end).toEqual({ status: 7, signal: null, stderr: '' })
    expect(existsSync(inDirectory('file'))).toBe(false)
  })

  test('an uncaught exception during a capture ends the process as always', async (context) => {
    needsVariant(context, variant)
    const { end } = await play('uncaught')
    expect(end).toMatchObject({ status: 1, signal: null })
    expect(end.stderr).toContain('as intended')
    expect(readdirSync(inDirectory())).toEqual([])
  })

  test('a second capture of the region by write protection is BUSY; by fork it works', async (context) => {
    needsVariant(context, variant)
    const busy = 'ERR_STILLFRAME_BUSY'
    const { others, ...facts } = await factsOf('two')
    expect(others['mprotect']).toBe(busy)
    for (const code of Object.values(others))
      expect([busy, 'ERR_STILLFRAME_ENGINE_UNAVAILABLE']).toContain(code)
    expect(facts).toEqual({ saved: true, forkSaved: true, memory: true })
  })

  test('several regions of all sizes in one call', async (context) => {
    needsVariant(context, variant)
    const { saved, expected } = await factsOf('several')
    expect(saved).toEqual(expected)
  })

  test('captures of different regions at once, also when writers wait at the limit of one', async (context) => {
    needsVariant(context, variant)
    expect(await factsOf('beside')).toEqual({ first: { ok: true }, second: { ok: true }, saved: true })
  })

  test('a region that is a mapping of a file is captured, or refused by userfaultfd', async (context) => {
    needsVariant(context, variant)
    const expected =
      variant === 'mprotect'
        ? { saved: true, image: true, memory: true }
        : { refused: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE' }
    expect(await factsOf('mapped')).toEqual(expected)
  })

  test(
    'descriptors, mappings, threads and children are as many after hundreds of captures',
    async (context) => {
      needsVariant(context, variant)
      const captures = longMode ? 1000 : 150
      const { before, after } = await factsOf('many', captures)
      console.log(`${variant}: before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`)
      const { mappings: mappingsBefore, ...counted } = before
      const { mappings: mappingsAfter, ...countedAfter } = after
      expect(countedAfter).toEqual(counted)
      // V8's young generation grows with the garbage, by some dozens of mappings; a leak would add
      // one per capture.
      expect(mappingsAfter - mappingsBefore).toBeLessThan(captures / 2)
    },
    longMode ? 300_000 : undefined,
  )
})
