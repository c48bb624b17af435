/**
 * Promise: every value accepted by out.value() can be read back, and equals its structuredClone().
 * Any other value is refused with an error that names it, and the previous file remains. Proved by
 * writing values of every kind, up to every limit, and reading them back.
 */

import { EventEmitter } from 'node:events'
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { deserialize } from 'node:v8'
import { readValues, snapshotState } from 'stillframe/heap'
import { describe, expect, test } from 'vitest'
import { loadHeapAddon } from '../../lib/addon/heap-addon.js'
import { serializeValue } from '../../lib/heap/value-codec.js'
import { deserializeValue } from '../../lib/values/value-reader.js'
import { rejectionOf } from '../support/expect-error.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { valuesOf } from './values-of.js'

const inDirectory = useTemporaryDirectory()
const [major = 0] = process.versions.node.split('.').map(Number)

const { Memory, Module } = Reflect.get(globalThis, 'WebAssembly') as {
  Module: new (program: Uint8Array) => object
  Memory: new (size: { initial: number }) => { buffer: ArrayBuffer }
}
const wasmModule = new Module(Buffer.from('0061736d01000000', 'hex'))

/** Writes and reads a value in this process, without a forked copy. */
function through<T>(value: T, limit?: number): T {
  const payload = serializeValue(loadHeapAddon(), value, limit)
  if (typeof payload === 'string') throw new Error(payload)
  return deserializeValue(Buffer.from(payload)) as T
}

const refusalOf = (value: unknown, limit?: number): unknown => serializeValue(loadHeapAddon(), value, limit)

const nested = (depth: number, wrap: (inner: unknown) => unknown): unknown => {
  let value: unknown = null
  for (let i = 0; i < depth; i++) value = wrap(value)
  return value
}

/** Containers of every kind. */
const wraps: [string, (inner: unknown) => unknown][] = [
  ['objects', (inner) => ({ inner })],
  ['objects with indices', (inner) => ({ 1: inner })],
  ['objects without fast properties', (inner) => Object.assign(Object.create(null), { inner })],
  ['objects with getters', (inner) => ({ get: inner })],
  ['arrays', (inner) => [inner]],
  ['sparse arrays', (inner) => Object.assign([], { 5: inner })],
  ['properties of arrays', (inner) => Object.assign([], { inner })],
  ['Maps', (inner) => new Map([[1, inner]])],
  ['keys of Maps', (inner) => new Map([[inner, 1]])],
  ['Sets', (inner) => new Set([inner])],
  ['errors', (inner) => Object.assign(new Error('outer', { cause: inner }), { stack: 'short' })],
]

describe('nesting', () => {
  test.each(wraps)('1,000 %s can be read, with two thirds of the stack that a program has', (_, wrap) => {
    const payload = Buffer.from(serializeValue(loadHeapAddon(), nested(1000, wrap)) as Uint8Array)
    /** Deserializes below this number of open calls. A program may have 7,000 and more. */
    const below = (calls: number): unknown => (calls === 0 ? deserializeValue(payload) : below(calls - 1))
    expect(below(1500)).toBeTypeOf('object')
  })

  test.each(wraps)('of 1,001 %s is refused', (_, wrap) => {
    expect(refusalOf(nested(1001, wrap))).toMatch(/^is nested 1001 levels deep, and at most 1000 can be read/)
  })

  test('that is too deep to be written is refused in words too', () => {
    expect(refusalOf(nested(100_000, (inner) => [inner]))).toMatch(/^is nested too deeply to be written/)
  })

  test('does not count what stands side by side', () => {
    const wide = Array.from({ length: 5000 }, (_, i) => [{ i, set: new Set([[i]]) }])
    expect(through(wide)).toEqual(wide)
  })
})

test('a refused value is named in the error, and the file from before stays', async () => {
  for (const value of [nested(2500, (next) => ({ next })), { module: wasmModule }]) {
    writeFileSync(inDirectory('file'), 'good')
    const job = snapshotState(inDirectory('file'), (out) => {
      out.value('fine')
      out.value(value)
    })
    const { code, cause } = await rejectionOf(job.done)
    expect(code).toBe('ERR_STILLFRAME_CALLBACK')
    expect(cause).toMatchObject({
      name: 'TypeError',
      message: expect.stringMatching(/^value 2 \(\[Object\]\) (is|cannot) /),
    })
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('good')
  }
})

describe('what is refused', () => {
  const detached = new Uint8Array(8)
  structuredClone(0, { transfer: [detached.buffer] })
  const resizable = (length: number): ArrayBuffer =>
    Reflect.construct(ArrayBuffer, [length, { maxByteLength: 64 }]) as ArrayBuffer
  const shrunk = resizable(16)
  const outside = [new Uint8Array(shrunk, 8, 8), new DataView(shrunk, 8, 8)]
  ;(shrunk as ArrayBuffer & { resize(length: number): void }).resize(8)
  const growing = resizable(16)

  test.each<[string, unknown, RegExp]>([
    ['a function', { f() {} }, /^cannot be saved: f\(\) \{\} could not be cloned/],
    ['a symbol', Symbol('s'), /^cannot be saved: Symbol\(s\) could not be cloned/],
    ['a promise', [Promise.resolve()], /Promise.* could not be cloned/],
    ['a WeakMap', new WeakMap(), /WeakMap.* could not be cloned/],
    ['a proxy', new Proxy({}, {}), /could not be cloned/],
    ['a WebAssembly.Module', [wasmModule, 5], /^cannot be cloned: a WebAssembly.Module/],
    // V8 writes nothing for the cause, and would read the next field of the error as its value.
    ['one as a cause', new Error('e', { cause: wasmModule }), /^cannot be cloned: a WebAssembly.Module/],
    ['a WebAssembly.Memory', new Memory({ initial: 1 }), /Memory.* could not be cloned/],
    ['a SharedArrayBuffer', new SharedArrayBuffer(8), /^cannot be cloned: a SharedArrayBuffer/],
    [
      'a handle of Node',
      new Blob(['a']),
      /^cannot be cloned: it holds an object of class Blob, of which nothing would be left/,
    ],
    ['a detached array', detached, /a typed array whose memory is gone/],
    ['an array outside of its buffer', outside[0], /a typed array whose memory is gone/],
    ['a DataView outside of its buffer', outside[1], /a DataView whose memory is gone/],
    ['views that share what may grow', [new Uint8Array(growing), new Int8Array(growing)], /resizable/],
  ])('%s', (_, value, why) => {
    expect(refusalOf(value)).toMatch(why)
    expect(refusalOf({ deep: [new Map([[1, value]])] })).toMatch(why)
  })

  const stateless: [string, () => object][] = [
    ['a URL', () => new URL('https://example.org/a?b')],
    ['URLSearchParams', () => new URLSearchParams('a=b')],
    ['Headers', () => new Headers({ a: 'b' })],
    ['a Request', () => new Request('https://example.org/')],
    ['a Response', () => new Response('text')],
    ['FormData', () => new FormData()],
    ['an AbortSignal', () => AbortSignal.abort()],
    ['an EventTarget', () => new EventTarget()],
    ['one that extends it', () => new (class Target extends EventTarget {})()],
    ['a Blob', () => new Blob(['a'])],
    ['a TextDecoder', () => new TextDecoder()],
    ['a DOMException', () => new DOMException('gone', 'AbortError')],
  ]
  test.skipIf(major < 22).each(stateless)(
    '%s, of which nothing would be left (Node 22 and later)',
    (_, make) => {
      expect(refusalOf({ next: make() })).toMatch(
        /^cannot be cloned: it holds an object of class \w+, of which nothing would be left/,
      )
    },
  )

  test('an error whose cause leads back to it, where Node cannot read it', () => {
    const error = new Error('round')
    error.cause = { of: [error] }
    if (major < 22) expect(refusalOf([error])).toMatch(/^holds an error whose cause leads back/)
    else expect(through(error)).toMatchObject({ message: 'round', cause: { of: [{ message: 'round' }] } })
  })

  test('not what getters throw: that is thrown', () => {
    const thrown = new SyntaxError('of the getter')
    const value = {
      get a() {
        throw thrown
      },
    }
    expect(() => refusalOf(value)).toThrow(thrown)
  })
})

describe('what is kept', () => {
  class Own {
    a = 1
  }
  class OfEmitter extends EventEmitter {
    state = 'kept'
  }

  test.each<[string, unknown, unknown]>([
    ['an object of a class', new Own(), { a: 1 }],
    ['one of a class without state', new (class {})(), {}],
    ['an EventEmitter', new OfEmitter(), { state: 'kept' }],
    ['what Node has as plain data', statSync('/'), { size: statSync('/').size }],
    ['an object without prototype', Object.create(null, { a: { value: 1, enumerable: true } }), { a: 1 }],
  ])('%s: its properties', (_, value, expected) => {
    expect(through(value)).toMatchObject(expected as object)
  })

  test('objects, strings, numbers and errors of every kind, as structuredClone() has them', () => {
    const values = [
      Object('ÿ€'),
      Object(1n),
      Object(true),
      Object(5),
      'ÿ',
      'a€',
      ['', 'odd€', 'x', '€'],
      2n ** 1000n,
      -(2n ** 64n),
      new Date(Number.NaN),
      /[€]/dgimsuy,
      Object.assign([], { 7: 1, x: 2 }),
      new Array(3),
      [undefined, null, -0, 2 ** 31, 2 ** 32, 1e300],
      new Map<unknown, unknown>([[new Set([new Map()]), [new Error('in a Map')]]]),
      new EvalError('e'),
      new RangeError('r', { cause: new ReferenceError('f', { cause: [new URIError('u')] }) }),
      new SyntaxError(''),
      new AggregateError([1], 'a'),
      Object.assign(Reflect.construct(ArrayBuffer, [3, { maxByteLength: 5 }])),
    ]
    for (const value of values) {
      const expected: unknown = structuredClone(value)
      expect(through(value)).toEqual(expected)
      expect(through([value, { value }])).toEqual([expected, { value: expected }])
    }
  })
})

describe('memory that views share', () => {
  test('they share after reading, with the buffer itself too, wherever it stands', () => {
    const memory = new ArrayBuffer(64)
    const ring = { head: new Int32Array(memory, 4, 2), data: new Uint8Array(memory, 12, 30), all: memory }
    ring.data.set([1, 2, 3])
    const { head: only } = ring
    for (const value of [
      ring,
      { first: memory, ...ring },
      new Map([[only, [ring.data, memory]]]),
      [only, memory],
    ]) {
      expect(through(value)).toEqual(structuredClone(value))
    }
    for (const [view, whole] of [through([only, memory]), through([memory, only]).reverse()]) {
      expect((view as Int32Array).buffer).toBe(whole)
    }
    const { head, data, all } = through(ring)
    expect(head.buffer).toBe(all)
    expect(data.buffer).toBe(all)
    expect([all.byteLength, head.byteOffset, data.byteOffset, data.length]).toEqual([64, 4, 12, 30])
  })

  test.each(
    [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array].concat(
      // biome-ignore lint/suspicious/noExplicitAny: arrays of all kinds of elements
      [Float32Array, Float64Array, BigInt64Array, BigUint64Array, DataView] as any,
    ),
  )('%o shares, and alone takes its own part only', (View) => {
    const memory = new ArrayBuffer(1 << 16)
    new Uint8Array(memory).fill(0x41)
    const view = new View(memory, 8, 2)
    const [one, other] = through([view, new View(memory, 16, 3)])
    expect(one).toEqual(view)
    expect(one).toBeInstanceOf(View)
    expect(one?.buffer).toBe(other?.buffer)
    expect(other?.buffer.byteLength).toBe(1 << 16)
    for (const prefix of ['', 'a', 'aa', 'aaa', 'aaaaa', 'aaaaaaa']) {
      expect(through([prefix, view])[1]).toEqual(view)
    }
    expect((serializeValue(loadHeapAddon(), view) as Uint8Array).length).toBeLessThan(64)
  })

  test('of a SharedArrayBuffer they share with one another', () => {
    const shared = new SharedArrayBuffer(16)
    new Uint8Array(shared).fill(3)
    const [bytes, words] = through([new Uint8Array(shared, 4, 8), new Uint32Array(shared)])
    expect(bytes?.buffer).toBe(words?.buffer)
    expect([...(words ?? [])]).toEqual([0x3030303, 0x3030303, 0x3030303, 0x3030303])
  })

  test('Buffers do not share, since strangers lie in their pool: each is cut out', () => {
    const secret = Buffer.from('secret of somebody else')
    const [first, second] = [Buffer.from('first'), Buffer.from('second')]
    expect(second?.buffer).toBe(secret.buffer)
    const payload = Buffer.from(serializeValue(loadHeapAddon(), [first, second]) as Uint8Array)
    expect(payload.includes('secret')).toBe(false)
    const [one, two] = deserializeValue(payload) as [Buffer, Buffer]
    expect([String(one), String(two)]).toEqual(['first', 'second'])
    expect(Buffer.isBuffer(one)).toBe(true)
  })

  test('a value without shared memory is what v8.deserialize() reads', () => {
    const value = {
      a: [new Float64Array([1.5]), Buffer.from('b')],
      m: new Map([[1, new DataView(new ArrayBuffer(3))]]),
    }
    expect(deserialize(serializeValue(loadHeapAddon(), value) as Uint8Array)).toEqual(value)
  })
})

describe('the size of a value', () => {
  const limit = 10_000
  const twoViewsOf = (memory: ArrayBuffer): unknown => [new Uint8Array(memory), new Int8Array(memory)]

  test.each<[string, (bytes: number) => unknown]>([
    ['a text', (bytes) => 'x'.repeat(bytes)],
    ['a typed array', (bytes) => new Uint8Array(bytes)],
    ['an ArrayBuffer', (bytes) => new ArrayBuffer(bytes)],
    ['typed arrays', (bytes) => Array.from({ length: 10 }, () => new Uint8Array(bytes / 10))],
    ['views of one buffer', (bytes) => twoViewsOf(new ArrayBuffer(bytes))],
    ['small objects', (bytes) => Array.from({ length: bytes / 3 }, () => ({}))],
  ])('of %s may come to the limit, and not beyond', (_, make) => {
    expect(through(make(limit - 200), limit)).toEqual(make(limit - 200))
    for (const bytes of [limit, 2 * limit, 100 * limit]) {
      expect(refusalOf(make(bytes), limit)).toMatch(
        /^is too large: more than 10000 bytes .* write it in parts/,
      )
    }
  })

  test('beyond the limit is noticed as soon as it is there', () => {
    let seen = 0
    const last = {
      get it() {
        return seen++
      },
    }
    expect(through([new Uint8Array(limit / 2), last], limit)).toEqual([new Uint8Array(limit / 2), { it: 0 }])
    const tenHalves = Array.from({ length: 10 }, () => new Uint8Array(limit / 2))
    for (const many of [[new Uint8Array(limit + 1)], tenHalves]) {
      expect(refusalOf([...many, last], limit)).toMatch(/^is too large/)
    }
    expect(seen).toBe(1)
  })

  test('in a file is at most what can be checked, whatever the file says', async () => {
    const head = Buffer.from('SFV1????????????', 'latin1')
    head.writeBigUInt64LE(2n ** 32n, 8)
    writeFileSync(inDirectory('file'), head)
    truncateSync(inDirectory('file'), 16 + 2 ** 32)
    expect(await rejectionOf(valuesOf(inDirectory('file')))).toMatchObject({
      code: 'ERR_STILLFRAME_CORRUPT',
      message: expect.stringContaining('longer than any'),
    })
  })

  test('in a file is bounded by the caller, before it takes memory', async () => {
    await snapshotState(inDirectory('file'), (out) => {
      out.value('small')
      out.value(new Uint8Array(1 << 20))
    }).done
    const iteration = readValues(inDirectory('file'), { maxValueBytes: 1 << 20 })
    expect(await iteration.next()).toEqual({ done: false, value: 'small' })
    expect(await rejectionOf(iteration.next())).toMatchObject({
      name: 'RangeError',
      code: 'ERR_OUT_OF_RANGE',
      message: expect.stringContaining('maxValueBytes'),
    })
    for (const [options, code] of [
      [{ maxValueBytes: 0 }, 'ERR_OUT_OF_RANGE'],
      [{ maxValueBytes: '5' }, 'ERR_INVALID_ARG_TYPE'],
      [{ max: 1 }, 'ERR_INVALID_ARG_VALUE'],
    ]) {
      const wrong = readValues(inDirectory('file'), options as { maxValueBytes: number }).next()
      expect(await rejectionOf(wrong)).toMatchObject({ code })
    }
  })
})
