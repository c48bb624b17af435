/**
 * Promise: inspect, verify, restore and preflight report what they find in the file and on the
 * machine in the documented shape, check restore targets before filling any byte, and can be
 * aborted. Proved with a stand-in for the addon that answers when the test says so.
 */

import { beforeEach, describe, expect, test, vi } from 'vitest'
import { inspect, preflight, Region, restore, type Source, StillframeError, verify } from '../../lib/index.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { detach, resizableBuffer, wasmMemory } from '../support/memory-kinds.js'
import { FakeAddon, FakeRegion, image, nativeFailure } from './fake-addon.js'

let fake = new FakeAddon()
vi.mock('../../lib/addon/load.js', () => ({ loadAddon: () => fake.asAddon() }))
beforeEach(() => {
  fake = new FakeAddon()
})

const path = '/data/some.stillframe'
const info = {
  id: '00010203-0405-0607-0809-0a0b0c0d0e0f',
  version: { major: 1, minor: 0 },
  layout: 'flat',
  frozenAt: new Date(1_700_000_000_000),
  pageSize: 4096,
  blockSize: 262_144,
  fileSize: 10_000,
  allocatedBytes: 8192,
  byteLength: 24,
  metadata: { epoch: 7 },
  sections: image.sections,
}

/** In its place, native code continues with the next chunk. */
const noDone = (): void => {}

const defaultLimits = {
  sections: 65_535,
  mappings: -1,
  metadataBytes: 64 * 2 ** 20,
  metadataValues: 250_000,
  metadataDepth: 1000,
}

describe('inspect()', () => {
  test('gives what the file says', async () => {
    expect(await inspect(path)).toEqual(info)
    fake.image = { ...image, metadata: undefined }
    expect((await inspect(path)).metadata).toBeUndefined()
    fake.image = { ...image, metadata: 'null' }
    expect((await inspect(path)).metadata).toBeNull()
  })

  test('rejects with a typed error that has the stack of the caller', async () => {
    fake.image = undefined
    const rejection = (function theCaller() {
      return rejectionOf(inspect(path))
    })()
    fake.inspectJob?.fail(nativeFailure('FORMAT', { message: 'not a snapshot file' }))
    const error = await rejection
    expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_FORMAT', path })
    expect(error.stack).toContain('theCaller')
  })

  test('metadata that is no JSON is damage', async () => {
    fake.image = { ...image, metadata: '{' }
    expect(await rejectionOf(inspect(path))).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path })
  })
})

describe('verify()', () => {
  test('reports no problems', async () => {
    const report = verify(path)
    expect(fake.verifyPlan).toEqual({ path, parents: [], maxProblems: 100, limits: defaultLimits })
    fake.verifyJob?.succeed({ problems: [], info: image })
    expect(await report).toEqual({ ok: true, problems: [], info })
  })

  test('reports problems, with the places that are known', async () => {
    const report = verify(path, { maxProblems: 2 })
    expect(fake.verifyPlan?.maxProblems).toBe(2)
    fake.verifyJob?.succeed({
      info: undefined,
      problems: [
        { offset: 4096, section: 'main', reason: 'wrong checksum' },
        { offset: -1, section: '', reason: 'cut off' },
      ],
    })
    expect(await report).toEqual({
      ok: false,
      problems: [{ offset: 4096, section: 'main', reason: 'wrong checksum' }, { reason: 'cut off' }],
    })
  })

  test('a file that is no snapshot is a report, a newer one is not', async () => {
    const report = verify(path)
    fake.verifyJob?.fail(nativeFailure('FORMAT', { message: 'not a snapshot', offset: 0 }))
    expect(await report).toEqual({ ok: false, problems: [{ offset: 0, reason: 'not a snapshot' }] })
    const rejection = rejectionOf(verify(path))
    fake.verifyJob?.fail(nativeFailure('VERSION', { message: 'version 9' }))
    expect((await rejection).code).toBe('ERR_STILLFRAME_VERSION')
  })

  test('shows its progress, the last time at the end', async () => {
    const seen: unknown[] = []
    const report = verify(path, { onProgress: (progress) => seen.push(progress) })
    if (fake.verifyJob) fake.verifyJob.counters = [10, 10]
    fake.verifyJob?.succeed({ problems: [], info: undefined })
    await report
    expect(seen).toEqual([{ bytesDone: 10, bytesTotal: 10 }])
  })

  test('has no last word on its progress after a failure', async () => {
    const seen: unknown[] = []
    const rejection = rejectionOf(verify(path, { onProgress: (progress) => seen.push(progress) }))
    fake.verifyJob?.fail(nativeFailure('IO'))
    await rejection
    expect(seen).toEqual([])
  })

  test('a signal cancels it and is let go of', async () => {
    const controller = new AbortController()
    const removed = vi.spyOn(controller.signal, 'removeEventListener')
    const rejection = rejectionOf(verify(path, { signal: controller.signal }))
    controller.abort('enough')
    expect(await rejection).toBe('enough')
    expect(fake.verifyJob?.cancels).toBe(1)
    expect(removed).toHaveBeenCalledTimes(1)
    expect(await rejectionOf(verify(path, { signal: AbortSignal.abort('no') }))).toBe('no')
  })
})

describe('restore()', () => {
  const native = () => ({
    info: image,
    mapped: true,
    sections: image.sections.map(({ name, byteLength }) => ({ name, region: new FakeRegion(byteLength) })),
  })

  test('asks for everything by default, and gives regions named after their sections', async () => {
    const promise = restore(path)
    expect(fake.inspectJob).toBeUndefined()
    expect(fake.restorePlan).toEqual({
      path,
      parents: [],
      files: [],
      onRead: undefined,
      mode: 'any',
      verify: true,
      prefetch: false,
      sections: undefined,
      maxBytes: 0,
      limits: defaultLimits,
      into: [],
    })
    fake.restoreJob?.succeed(native())
    const restored = await promise
    expect(Object.keys(restored.regions)).toEqual(['main', 'index'])
    expect(restored.regions.index).toBeInstanceOf(Region)
    expect(restored.regions.index?.name).toBe('index')
    expect(restored.metadata).toEqual({ epoch: 7 })
    expect(restored.info).toEqual(info)
  })

  test('close() and using close all regions, unless one is in use', async () => {
    for (const close of ['close', Symbol.dispose, Symbol.asyncDispose] as const) {
      const promise = restore(path)
      const result = native()
      fake.restoreJob?.succeed(result)
      const restored = await promise
      const regions = Object.values(restored.regions)
      const last = result.sections.at(-1)
      if (last) last.region.busy = true
      if (close !== Symbol.asyncDispose) {
        expect(thrownBy(() => restored[close]())).toMatchObject({ code: 'ERR_STILLFRAME_BUSY' })
      }
      for (const region of regions) expect(region.buffer.byteLength).toBe(region.byteLength)
      if (last) last.region.busy = false
      await restored[close]()
      for (const region of regions) expect(thrownBy(() => region.buffer).code).toBe('ERR_STILLFRAME_CLOSED')
      await restored[close]()
    }
  })

  test('a section may have any name', async () => {
    const promise = restore(path)
    const region = new FakeRegion(8)
    fake.restoreJob?.succeed({ info: image, mapped: true, sections: [{ name: '__proto__', region }] })
    const { regions } = await promise
    expect(Object.keys(regions)).toEqual(['__proto__'])
    expect(Object.values(regions)).toEqual([expect.any(Region)])
  })

  test('an abort rejects with the reason, also when the regions come in the same moment', async () => {
    const controller = new AbortController()
    const rejection = rejectionOf(restore(path, { signal: controller.signal }))
    controller.abort('enough')
    const result = native()
    const buffers = result.sections.map(({ region }) => region.buffer())
    fake.restoreJob?.succeed(result)
    expect(await rejection).toBe('enough')
    expect(fake.restoreJob?.cancels).toBe(1)
    for (const buffer of buffers) expect(buffer.byteLength).toBe(0)
  })

  test('metadata that is no JSON is damage, and gives all memory back', async () => {
    const rejection = rejectionOf(restore(path))
    const result = native()
    const buffers = result.sections.map(({ region }) => region.buffer())
    fake.restoreJob?.succeed({ ...result, info: { ...image, metadata: '{' } })
    expect((await rejection).code).toBe('ERR_STILLFRAME_CORRUPT')
    for (const buffer of buffers) expect(buffer.byteLength).toBe(0)
  })

  test('sections picks, without duplicates', async () => {
    const promise = restore(path, { sections: ['index', 'index'], verify: false, mode: 'copy', maxBytes: 99 })
    expect(fake.restorePlan).toEqual({
      path,
      parents: [],
      files: [],
      onRead: undefined,
      mode: 'copy',
      verify: false,
      prefetch: false,
      sections: ['index'],
      maxBytes: 99,
      limits: defaultLimits,
      into: [],
    })
    fake.restoreJob?.succeed({ info: image, mapped: true, sections: [] })
    expect(Object.keys((await promise).regions)).toEqual([])
  })

  test('what only the file can show to be wrong is still a wrong argument', async () => {
    for (const [failure, code, name] of [
      ['NO_SECTION', 'ERR_INVALID_ARG_VALUE', 'TypeError'],
      ['OUT_OF_RANGE', 'ERR_OUT_OF_RANGE', 'RangeError'],
    ] as const) {
      const rejection = (function theCaller() {
        return rejectionOf(restore(path))
      })()
      fake.restoreJob?.fail(nativeFailure(failure, { message: 'it has 8 bytes' }))
      const error = await rejection
      expect(error).toMatchObject({ name, code, message: `${path}: it has 8 bytes` })
      expect(error.stack).toContain('theCaller')
    }
  })

  describe('into', () => {
    /** The plan of a restore into this memory; the restore never ends. */
    function planFor(into: Record<string, unknown>, sections?: string[]) {
      const options = sections === undefined ? { into } : { into, sections }
      restore(path, options as object).catch(() => {})
      if (fake.restorePlan === undefined) throw new Error('refused')
      return fake.restorePlan
    }

    test('restores only what it names, unless sections names more', async () => {
      expect(planFor({ main: new ArrayBuffer(8) }).sections).toEqual(['main'])
      expect(planFor({ main: new ArrayBuffer(8) }, ['main', 'index']).sections).toEqual(['main', 'index'])
    })

    test('a whole region is filled by native code, everything else chunk by chunk', async () => {
      const region = Region.allocate(8)
      for (const target of [region, region.buffer, new Uint8Array(region.buffer)]) {
        const [native] = planFor({ main: target }).into
        expect(native).toMatchObject({ name: 'main', byteLength: 8 })
        expect(native?.region?.buffer()).toBe(region.buffer)
        expect(native?.onChunk).toBeUndefined()
      }
      const big = Region.allocate(24)
      const [part] = planFor({ main: new Uint8Array(big.buffer, 8) }).into
      expect(part?.region).toBeUndefined()
      part?.onChunk?.(4, 2, noDone).set([1, 2])
      expect([...new Uint8Array(big.buffer, 11, 4)]).toEqual([0, 1, 2, 0])
    })

    test('fills buffers, views and WebAssembly memories at the right place', async () => {
      const buffer = new ArrayBuffer(32)
      const shared = new SharedArrayBuffer(8)
      const memory = wasmMemory(1)
      for (const [target, bytes] of [
        [buffer, new Uint8Array(buffer)],
        [shared, new Uint8Array(shared)],
        [new Float64Array(buffer, 16), new Uint8Array(buffer, 16)],
        [new DataView(buffer, 5), new Uint8Array(buffer, 5)],
        [memory, new Uint8Array(memory.buffer)],
      ] as const) {
        const [native] = planFor({ main: target }).into
        native?.onChunk?.(2, 3, noDone).set([7, 8, 9])
        expect([...bytes.subarray(2, 5)]).toEqual([7, 8, 9])
        bytes.fill(0)
      }
    })

    test('a WebAssembly memory may grow meanwhile', async () => {
      const memory = wasmMemory(1)
      const [native] = planFor({ main: memory }).into
      memory.grow(1)
      native?.onChunk?.(0, 1, noDone).set([5])
      expect(new Uint8Array(memory.buffer)[0]).toBe(5)
    })

    test('memory that goes away meanwhile is a clear error', async () => {
      const buffer = new ArrayBuffer(8)
      const resizable = resizableBuffer(8, 8)
      const region = Region.allocate(32)
      const view = new Uint8Array(region.buffer, 8, 8)
      const targets = [buffer, resizable, view].map(async (target) => planFor({ main: target }).into[0])
      const natives = await Promise.all(targets)
      detach(buffer)
      resizable.resize(4)
      region.close()
      for (const native of natives) {
        const error = thrownBy(() => native?.onChunk?.(4, 1, noDone))
        expect(error).toBeInstanceOf(StillframeError)
        expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CLOSED', path })
        expect(error.message).toContain("section 'main'")
      }
    })

    test('what the look for the memory threw is what restore() rejects with', async () => {
      const buffer = new ArrayBuffer(8)
      const rejection = (function theCaller() {
        return rejectionOf(restore(path, { into: { main: buffer } }))
      })()
      detach(buffer)
      const thrown = thrownBy(() => fake.restorePlan?.into[0]?.onChunk?.(0, 1, noDone))
      fake.restoreJob?.fail(nativeFailure('IO', { message: 'a callback threw' }))
      const error = await rejection
      expect(error).toBe(thrown)
      expect(error.stack).toContain('theCaller')
    })

    test('a section that sections leaves out is refused', async () => {
      const [into, sections] = [{ main: new ArrayBuffer(8) }, ['index']]
      expect(() => planFor(into, sections)).toThrow('refused')
      const { code, message } = await rejectionOf(restore(path, { into, sections }))
      expect(code).toBe('ERR_INVALID_ARG_VALUE')
      expect(message).toContain("'main', which options.sections leaves out")
    })

    test('neighbours in one buffer share nothing, also when the last comes first', () => {
      const buffer = new ArrayBuffer(16)
      const [front, back] = [new Uint8Array(buffer, 0, 8), new Uint8Array(buffer, 8)]
      expect(planFor({ main: back, index: front }).into).toHaveLength(2)
    })

    test('closed and detached memory is refused', async () => {
      const buffer = new ArrayBuffer(8)
      const region = Region.allocate(8)
      detach(buffer)
      region.close()
      const code = async (into: Record<string, Source>) => (await rejectionOf(restore(path, { into }))).code
      expect(await code({ main: buffer })).toBe('ERR_INVALID_ARG_VALUE')
      expect(await code({ main: region })).toBe('ERR_STILLFRAME_CLOSED')
      expect(fake.restorePlan).toBeUndefined()
    })
  })
})

describe('preflight()', () => {
  test('adds up what the capture may need', async () => {
    const plain = new ArrayBuffer(300)
    const found = await preflight({ ours: Region.allocate(100), plain }, path, { memoryLimit: 350 })
    expect(found).toMatchObject({
      engine: 'fork',
      worstCaseExtraBytes: 350,
      availableBytes: 1000,
      freeDiskBytes: 2000,
    })
    expect(found.neededDiskBytes).toBeGreaterThan(400)
    expect(found.predictedPauseMs).toBeGreaterThan(0)
    expect(found.hazards.map(({ code }) => code)).toEqual(['DISK_SHORT'])
    expect((await preflight(plain, path, { memoryLimit: 350 })).worstCaseExtraBytes).toBe(300)
    expect((await preflight(new ArrayBuffer(800), path)).worstCaseExtraBytes).toBe(500)
  })
})
