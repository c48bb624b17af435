/**
 * Promise: every kind of memory is recognized, wherever it comes from, and native code gets exactly
 * its bytes; anything that is not memory, or is detached or closed, is refused. Proved by reading
 * the plan that a stand-in for the addon receives.
 */

import { createContext, runInContext } from 'node:vm'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { NativeSource } from '../../lib/addon/addon.js'
import { Region, type Source, snapshot } from '../../lib/index.js'
import { thrownBy } from '../support/expect-error.js'
import { detach, growableBuffer, resizableBuffer, wasmMemory } from '../support/memory-kinds.js'
import { FakeAddon, FakeCapture, lastPlan } from './fake-addon.js'

let fake = new FakeAddon()
vi.mock('../../lib/addon/load.js', () => ({ loadAddon: () => fake.asAddon() }))
beforeEach(() => {
  fake = new FakeAddon()
})

const path = '/tmp/never-written.stillframe'

/** The description of the sources that native code receives. */
function told(source: unknown): NativeSource[] {
  snapshot(source as Source, path)
  const { sources } = lastPlan()
  FakeCapture.last.succeed()
  return sources
}

/** The location of a head, as its buffer, offset and length. */
function placeOf({ head }: NativeSource): {
  buffer: ArrayBufferLike | undefined
  byteOffset: number
  length: number
} {
  return { buffer: head?.buffer, byteOffset: head?.byteOffset ?? -1, length: head?.length ?? -1 }
}

describe('a lone source', () => {
  const buffer = new ArrayBuffer(64)
  const shared = new SharedArrayBuffer(64)
  test.each<[string, unknown, ArrayBufferLike, number, number]>([
    ['ArrayBuffer', buffer, buffer, 0, 64],
    ['SharedArrayBuffer', shared, shared, 0, 64],
    ['Float64Array with an offset', new Float64Array(buffer, 8, 2), buffer, 8, 16],
    ['DataView', new DataView(buffer, 3, 5), buffer, 3, 5],
    ['Buffer', Buffer.from(buffer, 10, 20), buffer, 10, 20],
    ['view of a SharedArrayBuffer', new Int32Array(shared, 4), shared, 4, 60],
  ])('%s is section main with its own bytes', (_, source, of, byteOffset, byteLength) => {
    const [native, ...rest] = told(source)
    expect(rest).toEqual([])
    expect(native).toMatchObject({ name: 'main', byteLength, dontFork: false })
    expect(native?.region).toBeUndefined()
    expect(placeOf(native as NativeSource)).toEqual({ buffer: of, byteOffset, length: 1 })
  })

  test('an empty source has an empty head', () => {
    const [native] = told(new Uint8Array(buffer, 64))
    expect(native).toMatchObject({ byteLength: 0, dontFork: false })
    expect(placeOf(native as NativeSource).length).toBe(0)
    expect(told(new ArrayBuffer(0))[0]?.byteLength).toBe(0)
  })

  test('the length of a view is the built-in one, whatever the object says', () => {
    const liar = new Uint8Array(buffer, 0, 4)
    Object.defineProperty(liar, 'byteLength', { value: 2 ** 40 })
    Object.defineProperty(liar, 'byteOffset', { value: 60 })
    expect(told(liar)[0]).toMatchObject({ byteLength: 4 })
    expect(lastPlan().sources[0]?.head?.byteOffset).toBe(0)
  })
})

describe('memory that V8 keeps out of children', () => {
  test('a WebAssembly.Memory is taken at its size at the call', () => {
    const memory = wasmMemory(1)
    memory.grow(1)
    const [native] = told(memory)
    expect(native).toMatchObject({ name: 'main', byteLength: 131_072, dontFork: true })
    expect(placeOf(native as NativeSource).buffer).toBe(memory.buffer)
    expect(fake.dontForkAsked).toEqual([])
  })

  test('an empty one has nothing to flip', () => {
    expect(told(wasmMemory(0))[0]).toMatchObject({ byteLength: 0, dontFork: false })
  })

  test('so are resizable and growable buffers and views of them', () => {
    const resizable = resizableBuffer(16, 64)
    const growable = growableBuffer(16, 64)
    for (const source of [resizable, growable, new Uint8Array(resizable), new DataView(growable, 1)]) {
      expect(told(source)[0]).toMatchObject({ dontFork: true })
    }
    expect(fake.dontForkAsked).toEqual([])
  })

  test('of other buffers the kernel is asked once, at their first byte', () => {
    fake.dontFork = true
    const { buffer } = wasmMemory(1)
    expect(told(new Uint8Array(buffer, 4096, 8))[0]).toMatchObject({ dontFork: true })
    expect(told(buffer)[0]).toMatchObject({ dontFork: true })
    expect(fake.dontForkAsked.map(({ byteOffset, length }) => [byteOffset, length])).toEqual([[0, 1]])
  })
})

describe('regions', () => {
  test('a region, its buffer and a view of all of it are the region', () => {
    const region = Region.allocate(64, { name: 'other' })
    for (const source of [
      region,
      region.buffer,
      new Uint8Array(region.buffer),
      new DataView(region.buffer),
    ]) {
      const [native] = told(source)
      expect(native).toMatchObject({ name: 'main', byteLength: 64, dontFork: true })
      expect(native?.region?.buffer()).toBe(region.buffer)
      expect(native?.head).toBeUndefined()
    }
  })

  test('a view of a part is these bytes, and pins the region', () => {
    const region = Region.allocate(64)
    const [native] = told(new Uint16Array(region.buffer, 8, 4))
    expect(native).toMatchObject({ byteLength: 8, dontFork: true })
    expect(native?.region?.buffer()).toBe(region.buffer)
    expect(placeOf(native as NativeSource)).toEqual({ buffer: region.buffer, byteOffset: 8, length: 1 })
  })

  test('a closed region is refused, and so is what is left of its buffer', () => {
    const region = Region.allocate(64, { name: 'gone' })
    const { buffer } = region
    const view = new Uint8Array(buffer)
    region.close()
    for (const source of [region, buffer, view, { a: view }]) {
      const error = thrownBy(() => told(source))
      expect(error.code).toBe('ERR_STILLFRAME_CLOSED')
      expect(error.message).toMatch(/region 'gone' is closed/)
    }
  })
})

describe('other realms', () => {
  const context = createContext({})
  const realm = (code: string): unknown => runInContext(code, context)

  test.each<[string, string, number]>([
    ['ArrayBuffer', 'new ArrayBuffer(24)', 24],
    ['SharedArrayBuffer', 'new SharedArrayBuffer(24)', 24],
    ['typed array', 'new Float32Array(6).subarray(1, 3)', 8],
    ['DataView', 'new DataView(new ArrayBuffer(24), 4)', 20],
  ])('%s', (_, code, byteLength) => {
    expect(told(realm(code))[0]).toMatchObject({ name: 'main', byteLength })
    expect(told(realm(`({ part: ${code} })`))[0]).toMatchObject({ name: 'part', byteLength })
  })

  test('WebAssembly.Memory', () => {
    expect(told(realm('new WebAssembly.Memory({ initial: 1 })'))[0]).toMatchObject({
      byteLength: 65_536,
      dontFork: true,
    })
  })

  test('URL and AbortSignal by their shape', () => {
    const url = { href: 'file:///tmp/elsewhere', protocol: 'file:' } as URL
    const signal = {
      aborted: false,
      addEventListener() {},
      removeEventListener() {},
    } as unknown as AbortSignal
    expect(snapshot(new ArrayBuffer(8), url, { signal }).path).toBe('/tmp/elsewhere')
    FakeCapture.last.succeed()
  })
})

describe('several sources', () => {
  test('become sections in order, under their names', () => {
    const sources = {
      b: new ArrayBuffer(8),
      a: Region.allocate(16),
      __proto__: null,
      'ä/ü': new Uint8Array(3),
    }
    expect(told(sources).map(({ name, byteLength }) => [name, byteLength])).toEqual([
      ['b', 8],
      ['a', 16],
      ['ä/ü', 3],
    ])
  })

  test.each<[string, Record<string, unknown>, RegExp]>([
    ['empty', { '': new ArrayBuffer(1) }, /must not be empty/],
    ['with NUL', { 'a\0': new ArrayBuffer(1) }, /NUL/],
    ['with a lone surrogate', { '\udc00': new ArrayBuffer(1) }, /lone surrogates/],
    ['of 256 bytes', { ['ä'.repeat(128)]: new ArrayBuffer(1) }, /at most 255 bytes of UTF-8, not 256/],
  ])('a name %s is refused', (_, source, message) => {
    const error = thrownBy(() => told(source))
    expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
    expect(error.message).toMatch(message)
  })

  test('a name of 255 bytes is taken', () => {
    expect(told({ [`${'ä'.repeat(127)}x`]: new ArrayBuffer(1) })).toHaveLength(1)
  })

  test('65,535 are taken, one more is not', () => {
    const one = new ArrayBuffer(1)
    const many = Object.fromEntries(Array.from({ length: 65_535 }, (_, index) => [`s${index}`, one]))
    expect(told(many)).toHaveLength(65_535)
    expect(thrownBy(() => told({ ...many, more: one }))).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  })
})

describe('what is no memory', () => {
  test.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['a number', 8],
    ['a string', 'bytes'],
    ['an array', [new ArrayBuffer(8)]],
    ['a Map', new Map([['main', new ArrayBuffer(8)]])],
    ['a function', () => new ArrayBuffer(8)],
    ['an empty object', {}],
    ['an object with something else', { main: new ArrayBuffer(8), rest: 'x' }],
    ['nested objects', { main: { part: new ArrayBuffer(8) } }],
    ['an imitation of a memory', { main: { buffer: new ArrayBuffer(8), grow: () => 0 } }],
  ])('%s', (_, source) => {
    expect(thrownBy(() => told(source))).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' })
  })

  test('the section at fault is named', () => {
    expect(thrownBy(() => told({ good: new ArrayBuffer(8), bad: 7 })).message).toMatch(
      /^source\['bad'\] .*not 7/,
    )
  })

  test('detached buffers and views of them', () => {
    const buffer = new ArrayBuffer(8)
    const sources = [buffer, new Uint8Array(buffer), new DataView(buffer), { a: buffer }]
    detach(buffer)
    for (const source of sources) {
      const error = thrownBy(() => told(source))
      expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
      expect(error.message).toMatch(/detached/)
    }
  })

  test('views that a shrunk buffer has left outside', () => {
    const buffer = resizableBuffer(16, 16)
    const views = [new Uint8Array(buffer, 8, 4), new DataView(buffer, 8, 4)]
    buffer.resize(4)
    for (const view of views) expect(thrownBy(() => told(view)).message).toMatch(/is outside its buffer/)
    expect(told(new Uint8Array(buffer, 4))[0]?.byteLength).toBe(0)
  })
})
