/**
 * Promise: if fork cannot be used, `'auto'` uses it neither as its first choice nor as a fallback,
 * and reports what is missing before anything happens (I4, I11). Proved on a machine whose probe of
 * fork fails.
 */

import { readdirSync } from 'node:fs'
import { type EngineName, Region, snapshot } from 'stillframe'
import { beforeAll, expect, test } from 'vitest'
import { thrownBy } from '../support/expect-error.js'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { childrenOf } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

// Simulates a seccomp filter that is older than the call. The first capture probes fork, once.
beforeAll(() => {
  injectFault('pidfd_send_signal', 1, 'ENOSYS', true)
  thrownBy(() => snapshot(new Uint8Array(1), inDirectory('file')))
  clearFaults()
})

test('memory that only fork can capture is refused, with the reason', () => {
  const error = thrownBy(() => snapshot(new Uint8Array(4096), inDirectory('file')))
  expect(error.code).toBe('ERR_STILLFRAME_ENGINE_UNAVAILABLE')
  expect(error.message).toMatch(/mprotect \(section 'main' is memory that is not a Region.*fork \(.*pidfd/)
  expect(readdirSync(inDirectory())).toEqual([])
  expect(childrenOf(process.pid)).toEqual([])
})

test('a region in another capture is BUSY for every engine that is left, and the message is true', async () => {
  using region = Region.allocate(8 << 20)
  new Uint8Array(region.buffer).fill(1)
  await using first = snapshot(region, inDirectory('first'), {
    engine: 'mprotect',
    maxBytesPerSecond: 1 << 20,
  })
  const second = (engine: EngineName | 'auto') =>
    thrownBy(() => snapshot(region, inDirectory('second'), { engine, kernelWrites: false }))
  for (const engine of ['mprotect', 'userfaultfd', 'auto'] as const) {
    const { code, message } = second(engine)
    // On a machine without userfaultfd, that is an acceptable answer as well.
    if (engine === 'userfaultfd' && code === 'ERR_STILLFRAME_ENGINE_UNAVAILABLE') continue
    expect([engine, code]).toEqual([engine, 'ERR_STILLFRAME_BUSY'])
    expect(message).toMatch(/is being captured by write protection already/)
    expect(message).not.toMatch(/anonymous/)
  }
  expect(second('auto').message).toMatch(/fork, the alternative, cannot be used: .*pidfd/)
  expect(readdirSync(inDirectory())).not.toContain('second')
  first.abort()
})

test('userfaultfd beside userfaultfd says the same', async (context) => {
  using region = Region.allocate(8 << 20)
  new Uint8Array(region.buffer).fill(1)
  const take = (name: string) =>
    snapshot(region, inDirectory(name), { engine: 'userfaultfd', maxBytesPerSecond: 1 << 20 })
  let first: ReturnType<typeof take>
  try {
    first = take('first')
  } catch (error) {
    return context.skip((error as Error).message)
  }
  const { code, message } = thrownBy(() => take('second'))
  expect(code).toBe('ERR_STILLFRAME_BUSY')
  expect(message).toMatch(/is being captured by write protection already/)
  expect(message).not.toMatch(/anonymous/)
  first.abort()
  await expect(first.done).rejects.toThrow()
})
