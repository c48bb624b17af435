/**
 * Promise: a region is memory with a clear lifetime: usable until it is closed, refused afterwards,
 * never closed during a capture. Proved with a stand-in for the addon that can be made busy.
 */

import { inspect } from 'node:util'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { Region } from '../../lib/index.js'
import { thrownBy } from '../support/expect-error.js'
import { FakeAddon, FakeRegion } from './fake-addon.js'

let fake = new FakeAddon()
let lastHandle: FakeRegion | undefined
let hugePages: boolean | undefined
type MakeSharedBuffer = (share: unknown) => SharedArrayBuffer
let shareAsked: MakeSharedBuffer | undefined
const makeSharedBuffer: MakeSharedBuffer = () => new SharedArrayBuffer(0)
vi.mock('../../lib/addon/heap-addon.js', () => ({ loadHeapAddon: () => ({ makeSharedBuffer }) }))
vi.mock('../../lib/addon/load.js', () => ({
  loadAddon: () => ({
    ...fake.asAddon(),
    RegionHandle: class extends FakeRegion {
      constructor(byteLength: number, wantsHugePages: boolean, makeSharedBuffer?: MakeSharedBuffer) {
        super(byteLength)
        shareAsked = makeSharedBuffer
        hugePages = wantsHugePages
        lastHandle = this
      }
    },
  }),
}))
beforeEach(() => {
  fake = new FakeAddon()
})

describe('Region.allocate()', () => {
  test('has a name, a size, one buffer, and huge pages by default', () => {
    const region = Region.allocate(24)
    expect(region.name).toBe('main')
    expect(region.byteLength).toBe(24)
    expect(region.buffer).toBeInstanceOf(ArrayBuffer)
    expect(region.buffer).toBe(region.buffer)
    expect(region.buffer.byteLength).toBe(24)
    expect(hugePages).toBe(true)
    expect(Region.allocate(8, { name: 'vectors', hugePages: false }).name).toBe('vectors')
    expect(hugePages).toBe(false)
  })

  test('is shared if that is asked for, and only then', () => {
    Region.allocate(8, { shared: true, hugePages: false })
    expect(shareAsked).toBe(makeSharedBuffer)
    expect(hugePages).toBe(false)
    for (const options of [undefined, {}, { shared: false }, { shared: undefined }] as const) {
      Region.allocate(8, options)
      expect(shareAsked).toBeUndefined()
    }
    const error = thrownBy(() => Region.allocate(8, { shared: 1 as never }))
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE', message: expect.stringContaining('shared') })
  })

  test('is the only way to a Region', () => {
    const Constructor = Region as unknown as new () => Region
    expect(thrownBy(() => new Constructor()).message).toMatch(/Region\.allocate\(\)/)
  })
})

describe('close()', () => {
  test('detaches the buffer; afterwards the memory is refused and closing does nothing', () => {
    const region = Region.allocate(24, { name: 'cache' })
    const view = new Uint8Array(region.buffer)
    region.close()
    region.close()
    expect(view.length).toBe(0)
    expect(region.byteLength).toBe(24)
    for (const use of [() => region.buffer, () => region.prepareWrite(), () => region.prepareWrite(0, 1)]) {
      const error = thrownBy(use)
      expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_CLOSED' })
      expect(error.message).toContain("'cache'")
    }
  })

  test('is refused while a capture runs, and works afterwards', () => {
    const region = Region.allocate(24, { name: 'cache' })
    const { buffer } = region
    if (lastHandle) lastHandle.busy = true
    for (const close of [() => region.close(), () => region[Symbol.dispose]()]) {
      expect(thrownBy(close)).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_BUSY' })
    }
    expect(buffer.byteLength).toBe(24)
    if (lastHandle) lastHandle.busy = false
    region[Symbol.dispose]()
    expect(buffer.byteLength).toBe(0)
  })
})

describe('prepareWrite()', () => {
  test('takes ranges within the region and no others', () => {
    const region = Region.allocate(24)
    for (const range of [[], [0], [24], [0, 24], [8, 16], [24, 0], [8, undefined]] as const) {
      expect(region.prepareWrite(...range)).toBeUndefined()
    }
    for (const range of [[-1], [25], [0, 25], [8, 17], [0, -1], [0.5]] as const) {
      expect(thrownBy(() => region.prepareWrite(...range))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
    }
    expect(thrownBy(() => region.prepareWrite('0' as never))).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
  })
})

test('prints what it is and not what it holds', () => {
  const region = Region.allocate(1 << 20)
  expect(inspect(region)).toBe("Region { name: 'main', byteLength: 1048576, state: 'open' }")
  if (lastHandle) lastHandle.busy = true
  expect(inspect(region)).toContain("'busy'")
  if (lastHandle) lastHandle.busy = false
  region.close()
  expect(inspect(region)).toContain("'closed'")
})
