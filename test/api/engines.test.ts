/**
 * Promise: an engine requested by name is either used or refused with the reason; only 'auto'
 * chooses. Proved by requesting each engine with regions and with other memory.
 */

import { expect, test, vi } from 'vitest'
import { capabilities, preflight, Region, snapshot } from '../../lib/index.js'
import {
  chooseEngine,
  type EngineWish,
  fallbackOf,
  type Machine,
  whyChosen,
} from '../../lib/machine/engines.js'
import { resolveSources } from '../../lib/region/source.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { FakeAddon, FakeCapture, lastPlan } from './fake-addon.js'

const fake = new FakeAddon()
vi.mock('../../lib/addon/load.js', () => ({ loadAddon: () => fake.asAddon() }))

const path = '/tmp/never-written.stillframe'

test('auto and fork capture with fork', () => {
  for (const options of [undefined, {}, { engine: 'auto' }, { engine: 'fork' }] as const) {
    expect(snapshot(Region.allocate(8), path, options).engine).toBe('fork')
    expect(lastPlan().engine).toBe('fork')
    FakeCapture.last.succeed()
  }
})

test.each(['mprotect', 'userfaultfd'] as const)('%s is refused where it cannot be had', async (engine) => {
  const refusal = { code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE' }
  const error = thrownBy(() => snapshot(Region.allocate(8), path, { engine }))
  expect(error).toMatchObject(refusal)
  expect(error.message).toMatch(new RegExp(`engine '${engine}' .*does not have it`))
  expect(await rejectionOf(preflight(Region.allocate(8), path, { engine }))).toMatchObject(refusal)
})

/** A machine with every engine and feature except the named ones. */
const machine = (...missing: string[]): Machine => {
  const probe = <Name extends string>(name: Name) => {
    const available = !missing.includes(name)
    return { name, available, passing: false, reason: available ? '' : `no ${name}` }
  }
  return {
    engines: (['fork', 'mprotect', 'userfaultfd'] as const).map(probe),
    features: ['userfaultfd_thread', 'userfaultfd_signal'].map(probe),
    directReads: () => '',
  }
}

const wish = (source: unknown, options: Partial<EngineWish> = {}): EngineWish => ({
  engine: 'auto',
  onMemoryLimit: undefined,
  kernelWrites: undefined,
  sources: resolveSources(source),
  ...options,
})

test('fork alone freezes what is read past the page table: it is taken, or others are refused with what was found', () => {
  const region = Region.allocate(8)
  const found = { ...machine(), directReads: () => 'descriptor 23 reads directly' }
  const byFork = { engine: 'fork', faultHandling: 'kernel' }
  expect(chooseEngine(wish(region), found)).toEqual(byFork)
  expect(chooseEngine(wish(region, { kernelWrites: true }), found)).toEqual(byFork)
  expect(chooseEngine(wish(region, { kernelWrites: 'direct' }), machine())).toEqual(byFork)
  expect(chooseEngine(wish(region, { kernelWrites: false }), found).engine).toBe('userfaultfd')
  for (const engine of ['userfaultfd', 'mprotect'] as const) {
    const byName = (kernelWrites: EngineWish['kernelWrites'], on: Machine): unknown =>
      thrownBy(() => chooseEngine(wish(region, { engine, kernelWrites }), on))
    expect(byName(undefined, found)).toMatchObject({ message: expect.stringContaining('descriptor 23') })
    expect(byName('direct', machine())).toMatchObject({ message: expect.stringContaining("'direct'") })
    expect(chooseEngine(wish(region, { engine, kernelWrites: false }), found).engine).toBe(engine)
  }
})

test('descriptors are asked only where the answer counts', () => {
  const asked = { ...machine(), directReads: () => expect.fail('descriptors were asked') }
  expect(chooseEngine(wish(new Uint8Array(8)), asked).engine).toBe('fork')
  expect(chooseEngine(wish(Region.allocate(8), { kernelWrites: false }), asked).engine).toBe('userfaultfd')
  expect(chooseEngine(wish(Region.allocate(8), { engine: 'fork' }), asked).engine).toBe('fork')
})

test('auto takes userfaultfd with the fault thread when the kernel may write, else fork', () => {
  const region = Region.allocate(8)
  for (const kernelWrites of [undefined, true]) {
    const asked = wish(region, { kernelWrites })
    expect(chooseEngine(asked, machine())).toEqual({ engine: 'userfaultfd', faultHandling: 'thread' })
    for (const missing of ['userfaultfd', 'userfaultfd_thread']) {
      expect(chooseEngine(asked, machine(missing))).toEqual({ engine: 'fork', faultHandling: 'kernel' })
    }
  }
})

test('auto takes the fault signal when the kernel will not write, then mprotect, then fork', () => {
  const asked = wish(Region.allocate(8), { kernelWrites: false })
  expect(chooseEngine(asked, machine())).toEqual({ engine: 'userfaultfd', faultHandling: 'signal' })
  expect(chooseEngine(asked, machine('userfaultfd'))).toEqual({ engine: 'mprotect', faultHandling: 'signal' })
  expect(chooseEngine(asked, machine('userfaultfd', 'mprotect')).engine).toBe('fork')
})

test('auto takes fork for what is no whole region, and for a region under two names', () => {
  const region = Region.allocate(16)
  for (const source of [new ArrayBuffer(8), new Uint8Array(region.buffer, 0, 8), { a: region, b: region }]) {
    expect(chooseEngine(wish(source), machine()).engine).toBe('fork')
  }
})

test('userfaultfd by name prefers the fault thread, and mprotect is refused when the kernel has to write', () => {
  const region = Region.allocate(8)
  const by = (options: Partial<EngineWish>, ...missing: string[]) =>
    chooseEngine(wish(region, options), machine(...missing))
  expect(by({ engine: 'userfaultfd' }).faultHandling).toBe('thread')
  expect(by({ engine: 'userfaultfd' }, 'userfaultfd_thread').faultHandling).toBe('signal')
  expect(by({ engine: 'userfaultfd', kernelWrites: false }).faultHandling).toBe('signal')
  const needsThread = { engine: 'userfaultfd', kernelWrites: true } as const
  expect(thrownBy(() => by(needsThread, 'userfaultfd_thread')).message).toContain('no userfaultfd_thread')
  expect(by({ engine: 'mprotect' }).faultHandling).toBe('signal')
  expect(thrownBy(() => by({ engine: 'mprotect', kernelWrites: true })).message).toMatch(/kernelWrites/)
})

test('only auto falls back when an engine refuses just now, and it falls back on fork', () => {
  const region = Region.allocate(8)
  const choice = chooseEngine(wish(region), machine())
  const fork = { engine: 'fork', faultHandling: 'kernel' } as const
  expect(fallbackOf(wish(region), choice, machine())).toEqual(fork)
  expect(fallbackOf(wish(region, { onMemoryLimit: 'wait' }), choice, machine())).toEqual(fork)
  expect(fallbackOf(wish(region, { engine: 'userfaultfd' }), choice, machine())).toBeUndefined()
  expect(fallbackOf(wish(region), fork, machine())).toBeUndefined()
  expect(fallbackOf(wish(region), choice, machine('fork'))).toBe('no fork')
})

test('auto takes nothing that cannot be used, and says of each engine why', () => {
  const without = machine('fork', 'userfaultfd')
  for (const source of [Region.allocate(8), new ArrayBuffer(8)]) {
    const error = thrownBy(() => chooseEngine(wish(source), without))
    expect(error.code).toBe('ERR_STILLFRAME_ENGINE_UNAVAILABLE')
    expect(error.message).toMatch(/userfaultfd \(no userfaultfd\), mprotect \(.*\), fork \(no fork\)$/)
    // The advice must not name engines that cannot be used.
    expect(error.message).not.toMatch(/engine 'fork' or 'auto'/)
  }
  expect(chooseEngine(wish(Region.allocate(8), { kernelWrites: false }), without).engine).toBe('mprotect')
})

test('preflight says why an engine was chosen', async () => {
  const reasonOf = (asked: EngineWish, on: Machine) => whyChosen(asked, chooseEngine(asked, on), on)
  const region = Region.allocate(8)
  expect(reasonOf(wish(region), machine())).toMatch(/best/)
  expect(reasonOf(wish(region), machine('userfaultfd'))).toMatch(
    /userfaultfd \(no userfaultfd\), mprotect \(/,
  )
  expect(reasonOf(wish(new ArrayBuffer(8)), machine())).toMatch(/memory that is not a Region/)
  expect(reasonOf(wish(region, { engine: 'fork' }), machine())).toMatch(/requested by name/)
  expect((await preflight(region, path)).engineReason).toMatch(/userfaultfd/)
})

test.each(['mprotect', 'userfaultfd'] as const)('%s is refused for memory that is no Region', (engine) => {
  const asked = wish({ ours: Region.allocate(8), theirs: new ArrayBuffer(8) }, { engine })
  const error = thrownBy(() => chooseEngine(asked, machine()))
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
  expect(engines.mprotect.reason).toMatch(/does not have it/)
  expect(features).toEqual({ clone3: { available: false, reason: 'filtered' } })
  expect(hazards).toEqual([{ code: 'OVERCOMMIT_STRICT', message: 'vm.overcommit_memory is 2' }])
  expect([kernel, pageSize]).toEqual(['6.1.0', 4096])
})
