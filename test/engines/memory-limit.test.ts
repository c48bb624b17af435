/**
 * Promise: copy-on-write takes no more than memoryLimit while every page of the memory is rewritten
 * in random order, no write is lost, and the file is of the instant of the call. Proved from
 * outside, by adding up the memory of the process and its children during the writes, and by
 * comparing file and memory with the expected contents.
 */

import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { Fixture, Report } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { needsVariant } from '../support/needs.js'
import { childrenOf } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { allVariants, inProcessVariants, type Variant } from '../support/variants.mjs'
import { startProgram, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()
const MiB = 2 ** 20
/**
 * Memory that a capture may take beyond the limit: a bounce buffer, tables, threads, the JavaScript
 * heap.
 */
const allowance = 16 * MiB
const patienceMs = longMode ? 300_000 : 240_000

/** Memory of a process and its children, in bytes; shared pages are counted once in all. */
function memoryOf(pid: number): number {
  let bytes = 0
  for (const each of [pid, ...childrenOf(pid)]) {
    try {
      const text = readFileSync(`/proc/${each}/smaps_rollup`, 'utf8')
      bytes += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0) * 1024
    } catch {} // it has ended
  }
  return bytes
}

/** The next report, and the peak of the memory until then. */
async function peakUntilReport(fixture: Fixture): Promise<{ peak: number; report: Report }> {
  let peak = 0
  const timer = setInterval(() => {
    peak = Math.max(peak, memoryOf(fixture.pid))
  }, 4)
  try {
    return { report: await fixture.report(patienceMs), peak }
  } finally {
    clearInterval(timer)
  }
}

interface Rewrite {
  regionMiB: number
  limitMiB: number
  huge?: boolean
  onLimit?: 'wait' | 'abort'
  holdMs?: number
}

/** Result of rewriting a region during its capture. */
interface Rewritten {
  extra: number
  ended: Report
  facts: Report
}

async function rewrite(variant: Variant, how: Rewrite): Promise<Rewritten> {
  const { regionMiB, limitMiB, huge = true, onLimit = 'wait', holdMs = 0 } = how
  const args = [variant, inDirectory('file'), regionMiB, limitMiB, huge ? 1 : 0, onLimit, holdMs]
  const fixture = startProgram('rewrite', args)
  await fixture.report(patienceMs)
  const baseline = memoryOf(fixture.pid)
  fixture.tell('go')
  // Before that, a program is started, which shares this process's memory for an instant and would
  // count it twice.
  expect(await fixture.report(patienceMs)).toEqual({ begins: true })
  const { peak, report } = await peakUntilReport(fixture)
  fixture.tell('go')
  const facts = await fixture.report(patienceMs)
  expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
  return { extra: peak - baseline, ended: report, facts }
}

function expectExact({ saved, expected, lost, damaged, next }: Report): void {
  expect({ saved, lost, damaged, next }).toEqual({ saved: expected, lost: 0, damaged: false, next: expected })
}

describe('with every page rewritten during the capture', () => {
  const size = longMode ? { regionMiB: 2048, limitMiB: 64 } : { regionMiB: 256, limitMiB: 16 }
  const timeout = longMode ? 900_000 : 500_000

  test.for<Variant>(allVariants)(
    '%s: the extra memory stays within the limit, the file is exact',
    { timeout },
    async (variant, context) => {
      needsVariant(context, variant)
      const { extra, ended, facts } = await rewrite(variant, {
        ...size,
        // fork cannot keep such a limit; it is shown for comparison.
        limitMiB: variant === 'fork' ? size.regionMiB * 2 : size.limitMiB,
        // The saver starts late, when the writer has already reached the limit.
        holdMs: variant === 'fork' ? 0 : 1000,
      })
      const figures = `${size.regionMiB} MiB rewritten, limit ${size.limitMiB} MiB: ${(extra / MiB).toFixed(1)} MiB extra`
      console.log(`${variant}: ${figures}, ${ended['copied']} pages copied`)
      expect(ended['done']).toEqual({ ok: true })
      expectExact(facts)
      if (variant === 'fork') return
      expect(extra).toBeLessThanOrEqual(size.limitMiB * MiB + allowance)
      expect(ended['copiedBytesPeak']).toBe(size.limitMiB * MiB)
    },
  )
})

describe.each(inProcessVariants)('%s at the limit', (variant) => {
  test.for([true, false])(
    "'wait' lets the writer wait, and nothing is lost (huge pages: %s)",
    async (huge, context) => {
      needsVariant(context, variant)
      const { ended, facts } = await rewrite(variant, { regionMiB: 32, limitMiB: 1, huge, holdMs: 1000 })
      expect(ended).toMatchObject({ done: { ok: true }, copiedBytesPeak: MiB })
      expectExact(facts)
    },
  )

  test.for([true, false])(
    "'abort' ends the capture, not the writer (huge pages: %s)",
    async (huge, context) => {
      needsVariant(context, variant)
      // The writer does not wait here, so the saver is released as soon as everything is written.
      const how = { regionMiB: 32, limitMiB: 1, huge, onLimit: 'abort', holdMs: 20_000 } as const
      const { ended, facts } = await rewrite(variant, how)
      expect(ended['done']).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_MEMORY_LIMIT' })
      expectExact({ ...facts, saved: facts['expected'] })
    },
  )
})
