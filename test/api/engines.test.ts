/**
 * Promise: an engine asked for by name is used or refused with the reason, and only 'auto' chooses. Proved by
 * asking for each with regions and with other memory.
 */

import { expect, test, vi } from 'vitest'
import { capabilities, preflight, Region, snapshot } from '../../lib/index.js'
import { rejectionOf, thrownBy } from './expect-error.js'
import { FakeAddon, FakeCapture, lastPlan } from './fake-addon.js'

const fake = new FakeAddon()
vi.mock('../../lib/load.js', () => ({ loadAddon: () => fake.asAddon() }))

const path = '/tmp/never-written.stillframe'

test('auto and fork capture with fork', () => {
  for (const options of [undefined, {}, { engine: 'auto' }, { engine: 'fork' }] as const) {
    expect(snapshot(Region.allocate(8), path, options).engine).toBe('fork')
    expect(lastPlan().engine).toBe('fork')
    FakeCapture.last.succeed()
  }
})

test.each(['mprotect', 'userfaultfd'] as const)('%s is refused: not in this version', async (engine) => {
  const refusal = { code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE' }
  const error = thrownBy(() => snapshot(Region.allocate(8), path, { engine }))
  expect(error).toMatchObject(refusal)
  expect(error.message).toMatch(new RegExp(`engine '${engine}' .*this version`))
  expect(await rejectionOf(preflight(Region.allocate(8), path, { engine }))).toMatchObject(refusal)
})

test.each(['mprotect', 'userfaultfd'] as const)('%s is refused for memory that is no Region', (engine) => {
  const sources = { ours: Region.allocate(8), theirs: new ArrayBuffer(8) }
  const error = thrownBy(() => snapshot(sources, path, { engine }))
  expect(error.code).toBe('ERR_STILLFRAME_ENGINE_UNAVAILABLE')
  expect(error.message).toMatch(/section 'theirs' .*Region/)
})

test('fork by name cannot wait at the memory limit; auto takes it as a wish and preflight says so', async () => {
  const region = Region.allocate(8)
  const error = thrownBy(() => snapshot(region, path, { engine: 'fork', onMemoryLimit: 'wait' }))
  expect(error.code).toBe('ERR_STILLFRAME_ENGINE_UNAVAILABLE')
  expect(error.message).toMatch(/onMemoryLimit/)

  expect(snapshot(region, path, { onMemoryLimit: 'wait' }).engine).toBe('fork')
  FakeCapture.last.succeed()
  expect(snapshot(region, path, { engine: 'fork', onMemoryLimit: 'abort' }).engine).toBe('fork')
  FakeCapture.last.succeed()
  const { hazards } = await preflight(region, path, { onMemoryLimit: 'wait' })
  expect(hazards.map(({ code }) => code)).toContain('LIMIT_ABORTS')
})

test('capabilities() names every engine and why it is missing', () => {
  const { engines, features, hazards, kernel, pageSize } = capabilities()
  expect(Object.keys(engines)).toEqual(['userfaultfd', 'mprotect', 'fork'])
  expect(engines.fork).toEqual({ available: true, reason: '' })
  expect(engines.mprotect.available).toBe(false)
  expect(engines.mprotect.reason).toMatch(/this version/)
  expect(features).toEqual({ clone3: { available: false, reason: 'filtered' } })
  expect(hazards).toEqual([{ code: 'OVERCOMMIT_STRICT', message: 'vm.overcommit_memory is 2' }])
  expect([kernel, pageSize]).toEqual(['6.1.0', 4096])
})
