/**
 * Promise: the memory of a shared Region is captured and restored like that of any other, whatever
 * Workers do with it, and exists as long as any thread can reach it. Proved with one program per
 * case, with Workers that write, end and take captures themselves, and with the saver stopped
 * halfway where the moment matters.
 */

import { describe, expect, test } from 'vitest'
import { longMode } from '../support/long-mode.mjs'
import { needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { allVariants, inProcessVariants, signalVariants, type Variant } from '../support/variants.mjs'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()

/** The report of a program that ends successfully. */
async function factsOf(name: string, variant: Variant = 'fork', count = 0, env: Record<string, string> = {}) {
  const program = startProgram('shared', [variant, inDirectory(), name, count], { env })
  const report = await program.report()
  expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
  return report
}

const closed = 'ERR_STILLFRAME_CLOSED'
const unavailable = 'ERR_STILLFRAME_ENGINE_UNAVAILABLE'

describe.each(allVariants)('%s', (variant) => {
  test('a capture ends while its thread is blocked in Atomics.wait and a Worker writes', async (context) => {
    needsVariant(context, variant)
    const facts = await factsOf('blocked', variant)
    expect(facts).toEqual({ woken: 'ok', thereBeforeTheWakening: true, saved: true })
  })

  test('is restored into, as a Region and as a buffer', async (context) => {
    needsVariant(context, variant)
    expect(await factsOf('restoreHere', variant)).toEqual({ whole: true, byBuffer: true })
  })

  test('a Worker that writes to it may be terminated during a capture', async (context) => {
    needsVariant(context, variant)
    const facts = await factsOf('terminated', variant)
    expect(facts).toEqual({ outcomes: Array(5).fill({ ok: true }), saved: true })
  })
})

describe.each(inProcessVariants)('%s', (variant) => {
  test('close() is refused while it is frozen; afterwards Workers keep the memory, and nobody captures it', async (context) => {
    needsVariant(context, variant)
    expect(await factsOf('closed', variant)).toEqual({
      whileFrozen: 'ERR_STILLFRAME_BUSY',
      closed: [closed, closed, closed],
      ofBuffer: closed,
      kept: [true, true, 77, 78],
      length: 16 << 20,
      saved: true,
    })
  })
})

describe.each(signalVariants)('%s', (variant) => {
  test('a Worker restores into it while it is frozen', async (context) => {
    needsVariant(context, variant)
    expect(await factsOf('restoreInWorker', variant)).toEqual({
      outcome: { ok: true },
      saved: true,
      filled: true,
    })
  })
})

test('a Worker captures what it was given, by fork, while the thread of the Region is blocked', async () => {
  expect(await factsOf('captureInWorker')).toEqual({
    woken: 'ok',
    refused: unavailable,
    engine: 'fork',
    ok: true,
    saved: true,
  })
})

test('what Workers write is recorded for deltas', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const facts = await factsOf('recorded', 'userfaultfd thread')
  expect(facts).toEqual({ scannedBytes: 2 << 20, changedBytes: 4096, saved: true })
})

test('a copy of the buffer is the same memory, but not the Region; it cannot be transferred', async () => {
  expect(await factsOf('copies')).toEqual({
    transferred: expect.anything(),
    same: true,
    refused: unavailable,
    engine: 'fork',
    saved: true,
    engineOfOwn: 'mprotect',
    growable: false,
  })
})

describe.each(['unrecorded', 'recorded'])('%s', (kind) => {
  test('is collected while a Worker has the buffer, and released when the Worker ends', async (context) => {
    needsVariant(context, 'userfaultfd thread')
    expect(await factsOf('dropped', 'userfaultfd thread', kind === 'recorded' ? 1 : 0)).toEqual({
      collected: true,
      recordEnded: true,
      looked: [
        [3, 77],
        [4, 77],
      ],
      held: true,
      released: true,
    })
  })
})

test('that of a Worker outlives the Worker', async () => {
  expect(await factsOf('allocatedInWorker')).toEqual({ whole: true })
})

test('memory is given back after many of them, without anybody asking for it', async () => {
  const facts = await factsOf('churn', 'fork', longMode ? 5000 : 300)
  console.log(facts)
  expect(facts['flat']).toBe(true)
  // 4 MiB each: closed regions put pressure on the garbage collector until they are freed.
  expect(facts['peak']).toBeLessThan(300)
})

test('without the addon for this version of Node it is refused, and others are not', async () => {
  const facts = await factsOf('withoutAddon', 'fork', 0, {
    STILLFRAME_HEAP_ADDON: '/nowhere/stillframe_heap.node',
  })
  expect(facts).toEqual({ shared: 'ERR_STILLFRAME_ABI', unshared: 'nothing was thrown' })
})
