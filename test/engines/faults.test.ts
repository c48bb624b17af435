/**
 * Promise: faults that are not ours end as they would without us, and other handlers receive them:
 * before, during and after a capture. Proved by programs that cause such faults in each phase, and
 * once without this package for comparison.
 */

import { constants } from 'node:os'
import { describe, expect, test } from 'vitest'
import { longMode } from '../support/long-mode.mjs'
import { needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { inProcessVariants, optionsOf, signalVariants } from '../support/variants.mjs'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()
const phases = ['before', 'during', 'after'] as const
// Before a capture, our handler is not installed yet, so CI checks that phase only once, with
// WebAssembly.
const tried = longMode ? phases : (['during', 'after'] as const)
const everywhere = inProcessVariants.flatMap((variant) => phases.map((phase) => ({ variant, phase })))
const bySignal = signalVariants.flatMap((variant) => tried.map((phase) => ({ variant, phase })))

function start(variant: string, phase: string, name: string) {
  return startProgram('faults', [variant, inDirectory('file'), phase, name])
}

/** How the program ends when this case kills it in this phase. */
async function endOf(variant: string, phase: string, name: string, signal?: NodeJS.Signals) {
  const program = start(variant, phase, name)
  await program.report()
  if (signal !== undefined) program.child.kill(signal)
  const { status, signal: diedOf } = await bounded(program)
  return { status, diedOf }
}

/** How the program ends without us; determined once. */
const usualEnds = new Map<string, ReturnType<typeof endOf>>()
function usualEnd(name: string, signal?: NodeJS.Signals): ReturnType<typeof endOf> {
  const key = `${name} ${signal}`
  const known = usualEnds.get(key) ?? endOf('none', 'after', name, signal)
  usualEnds.set(key, known)
  return known
}

/** The end of the program; fails if there is none, since a fault may repeat forever. */
async function bounded(program: ReturnType<typeof start>) {
  const timer = setTimeout(() => program.child.kill('SIGKILL'), 280_000)
  const end = await program.end
  clearTimeout(timer)
  return end
}

describe.each(everywhere)('$phase a capture by $variant', ({ variant, phase }) => {
  test('an access out of bounds in WebAssembly is a RuntimeError', async (context) => {
    needsVariant(context, variant)
    const program = start(variant, phase, 'wasm')
    expect(await program.report()).toEqual({ phase })
    expect(await program.report()).toMatchObject({
      found: { right: true, kind: 'RuntimeError' },
      inFlight: phase === 'during',
    })
    expect(await program.report()).toMatchObject({ again: true, afterwards: { right: true } })
    expect(await bounded(program)).toEqual({ status: 0, signal: null, stderr: '' })
  })
})

describe.each(bySignal)('$phase a capture by $variant', ({ variant, phase }) => {
  test.each(['null', 'readOnly', 'jump'])('the mistake %s ends the process as without us', async (name) => {
    const usual = await usualEnd(name)
    expect(usual.diedOf).toBe('SIGSEGV')
    expect(await endOf(variant, phase, name)).toEqual(usual)
  })

  test.each(['SIGSEGV', 'SIGBUS'] as const)(
    '%s from outside ends the process as without us',
    async (signal) => {
      const usual = await usualEnd('wait', signal)
      expect(usual.diedOf).toBe(signal)
      expect(await endOf(variant, phase, 'wait', signal)).toEqual(usual)
    },
  )
})

describe.each(signalVariants)('%s and the handlers of others', (variant) => {
  test('one that was there first gets the faults that are not ours', async () => {
    const program = start(variant, 'after', 'handlerWasThere')
    await program.report()
    // Each of the 300 accesses out of bounds, and none of our thousands.
    expect(await program.report()).toMatchObject({ found: { right: true }, calls: 300 })
    expect(await program.report()).toMatchObject({ again: true, calls: 300, afterwards: { right: true } })
    expect(await bounded(program)).toMatchObject({ status: 0 })
  })

  test.each(phases)(
    'one that comes %s a capture and chains gets what is its own, in no circles',
    async (phase) => {
      const program = start(variant, phase, 'chainingHandler')
      await program.report()
      expect(await program.report()).toMatchObject({ found: { right: true }, inFlight: phase === 'during' })
      expect(await program.report()).toMatchObject({ again: true, afterwards: { right: true } })
      expect(await bounded(program)).toMatchObject({ status: 0 })
    },
  )

  test.each(['handlerForAll', 'listener'])(
    'one that comes during a capture and does not chain is noticed, and the faults are ours again: %s',
    async (name) => {
      const program = start(variant, 'during', name)
      await program.report()
      expect(await program.report()).toMatchObject({ found: true, inFlight: true })
      program.child.kill('SIGKILL')
    },
  )

  test.each(tried)(
    'a null dereference behind such a handler %s a capture is not gone round for ever',
    async (phase) => {
      const usual = await usualEnd('chainingHandlerThenNull')
      expect(await endOf(variant, phase, 'chainingHandlerThenNull')).toEqual(usual)
    },
  )

  test.each(tried)(
    'a crash reporter that is called once lets the process die %s a capture',
    async (phase) => {
      const usual = await usualEnd('singleHandlerThenNull')
      expect(usual.diedOf).toBe('SIGSEGV')
      expect(await endOf(variant, phase, 'singleHandlerThenNull')).toEqual(usual)
    },
  )

  test('a thread that blocks the signal is a reason to refuse; engines without signals do not mind', async () => {
    const signal = constants.signals[variant === 'mprotect' ? 'SIGSEGV' : 'SIGBUS']
    const program = startProgram('blocked', [inDirectory('file'), signal, JSON.stringify(optionsOf[variant])])
    const { refused, others } = await program.report()
    expect(refused).toMatchObject({ code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE' })
    expect(refused.message).toMatch(/'blocks-it' \(\d+\) blocks SIG(SEGV|BUS)/)
    expect(others).toEqual({ fork: true, 'userfaultfd thread': true })
    expect(await bounded(program)).toMatchObject({ status: 0 })
  })
})
