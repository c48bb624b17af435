/**
 * Promise: a wrong argument throws a TypeError or RangeError that has Node's code and names the
 * argument, before anything happens. Proved by making each kind of mistake where no native addon
 * can be loaded at all.
 */

import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import { inspect, preflight, Region, restore, snapshot, verify } from '../../lib/index.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'

class Reached extends Error {}

// A call that reaches the addon has accepted its arguments.
vi.mock('../../lib/addon/load.js', () => ({
  loadAddon: () => {
    throw new Reached()
  },
}))

const memory = new ArrayBuffer(8)
const path = '/tmp/never-written.stillframe'
const take = (options: unknown) => snapshot(memory, path, options as object)

describe('options of snapshot()', () => {
  test.each<[string, unknown, string, RegExp]>([
    ['null', null, 'ERR_INVALID_ARG_TYPE', /^options must be an object, not null/],
    ['a string', 'fork', 'ERR_INVALID_ARG_TYPE', /^options must be an object/],
    ['an array', [], 'ERR_INVALID_ARG_TYPE', /^options must be an object/],
    ['an unknown key', { memorylimit: 1 }, 'ERR_INVALID_ARG_VALUE', /options\.memorylimit .*memoryLimit/],
    ['engine of a wrong type', { engine: 1 }, 'ERR_INVALID_ARG_TYPE', /options\.engine .*'fork'/],
    ['an unknown engine', { engine: 'vfork' }, 'ERR_INVALID_ARG_VALUE', /options\.engine .*'vfork'/],
    ['memoryLimit as a string', { memoryLimit: '1G' }, 'ERR_INVALID_ARG_TYPE', /options\.memoryLimit/],
    ['memoryLimit 0', { memoryLimit: 0 }, 'ERR_OUT_OF_RANGE', /options\.memoryLimit .*from 1 to/],
    ['memoryLimit negative', { memoryLimit: -1 }, 'ERR_OUT_OF_RANGE', /options\.memoryLimit/],
    ['memoryLimit with a fraction', { memoryLimit: 1.5 }, 'ERR_OUT_OF_RANGE', /options\.memoryLimit/],
    ['memoryLimit NaN', { memoryLimit: Number.NaN }, 'ERR_OUT_OF_RANGE', /options\.memoryLimit .*NaN/],
    ['memoryLimit infinite', { memoryLimit: Number.POSITIVE_INFINITY }, 'ERR_OUT_OF_RANGE', /Infinity/],
    [
      'an unknown onMemoryLimit',
      { onMemoryLimit: 'kill' },
      'ERR_INVALID_ARG_VALUE',
      /options\.onMemoryLimit/,
    ],
    ['kernelWrites as a number', { kernelWrites: 1 }, 'ERR_INVALID_ARG_TYPE', /options\.kernelWrites/],
    [
      'kernelWrites as a text',
      { kernelWrites: 'all' },
      'ERR_INVALID_ARG_VALUE',
      /options\.kernelWrites .*'all'/,
    ],
    ['overwrite as a string', { overwrite: 'no' }, 'ERR_INVALID_ARG_TYPE', /options\.overwrite/],
    ['durable null', { durable: null }, 'ERR_INVALID_ARG_TYPE', /options\.durable/],
    ['mode as a string', { mode: '0600' }, 'ERR_INVALID_ARG_TYPE', /options\.mode/],
    ['mode with file type bits', { mode: 0o100600 }, 'ERR_OUT_OF_RANGE', /options\.mode/],
    ['stallTimeoutMs 0', { stallTimeoutMs: 0 }, 'ERR_OUT_OF_RANGE', /options\.stallTimeoutMs/],
    ['stallTimeoutMs too long', { stallTimeoutMs: 2 ** 31 }, 'ERR_OUT_OF_RANGE', /options\.stallTimeoutMs/],
    ['signal that is none', { signal: {} }, 'ERR_INVALID_ARG_TYPE', /options\.signal .*AbortSignal/],
    ['signal as a controller', { signal: new AbortController() }, 'ERR_INVALID_ARG_TYPE', /options\.signal/],
    ['onProgress that is no function', { onProgress: true }, 'ERR_INVALID_ARG_TYPE', /options\.onProgress/],
    ['maxBytesPerSecond 0', { maxBytesPerSecond: 0 }, 'ERR_OUT_OF_RANGE', /options\.maxBytesPerSecond/],
    ['a negative nice', { nice: -1 }, 'ERR_OUT_OF_RANGE', /options\.nice .*0 to 19/],
    ['nice as a string', { nice: '10' }, 'ERR_INVALID_ARG_TYPE', /options\.nice/],
    ['an unknown codec', { compression: 'gzip' }, 'ERR_INVALID_ARG_VALUE', /options\.compression .*'gzip'/],
    [
      'a codec without level',
      { compression: { codec: 'zstd' } },
      'ERR_INVALID_ARG_TYPE',
      /compression\.level/,
    ],
    ['a level out of range', { compression: { codec: 'zstd', level: 23 } }, 'ERR_OUT_OF_RANGE', /-50 to 22/],
    ['a level with a fraction', { compression: { codec: 'zstd', level: 1.5 } }, 'ERR_OUT_OF_RANGE', /level/],
    [
      'an unknown compression key',
      { compression: { codec: 'zstd', levl: 3 } },
      'ERR_INVALID_ARG_VALUE',
      /levl/,
    ],
    ['compression as a number', { compression: 3 }, 'ERR_INVALID_ARG_TYPE', /options\.compression/],
    ['metadata that is a function', { metadata: () => {} }, 'ERR_INVALID_ARG_TYPE', /options\.metadata/],
    ['metadata that is a symbol', { metadata: Symbol('x') }, 'ERR_INVALID_ARG_TYPE', /options\.metadata/],
    ['metadata with a BigInt', { metadata: { n: 1n } }, 'ERR_INVALID_ARG_VALUE', /metadata .*BigInt/],
    ['metadata with a cycle', { metadata: cycle() }, 'ERR_INVALID_ARG_VALUE', /metadata .*circular/],
  ])('%s', (_, options, code, message) => {
    const error = thrownBy(() => take(options))
    expect(error).toBeInstanceOf(code === 'ERR_OUT_OF_RANGE' ? RangeError : TypeError)
    expect(error.code).toBe(code)
    expect(error.message).toMatch(message)
  })

  test('an error of toJSON() is the cause', () => {
    const cause = new Error('not now')
    const metadata = {
      toJSON() {
        throw cause
      },
    }
    expect(thrownBy(() => take({ metadata })).cause).toBe(cause)
  })

  test('all defaults, undefined values and every valid value are accepted', () => {
    const all = {
      engine: 'auto',
      memoryLimit: 1,
      onMemoryLimit: 'wait',
      kernelWrites: false,
      compression: 'none',
      maxBytesPerSecond: 1,
      nice: 0,
      metadata: null,
      overwrite: false,
      mode: 0,
      durable: false,
      stallTimeoutMs: 1,
      signal: new AbortController().signal,
      onProgress: () => {},
    }
    const undefineds = Object.fromEntries(Object.keys(all).map((key) => [key, undefined]))
    for (const options of [undefined, {}, Object.create(null), all, undefineds]) {
      expect(thrownBy(() => take(options))).toBeInstanceOf(Reached)
    }
  })

  test('preflight() rejects with the same errors', async () => {
    const error = await rejectionOf(preflight(memory, path, { overwritten: true } as object))
    expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' })
  })
})

describe('path', () => {
  test.each<[string, unknown, string]>([
    ['undefined', undefined, 'ERR_INVALID_ARG_TYPE'],
    ['a number', 3, 'ERR_INVALID_ARG_TYPE'],
    ['a Buffer', Buffer.from('/tmp/x'), 'ERR_INVALID_ARG_TYPE'],
    ['empty', '', 'ERR_INVALID_ARG_VALUE'],
    ['with NUL', '/tmp/a\0b', 'ERR_INVALID_ARG_VALUE'],
    ['with a lone surrogate', '/tmp/\ud800', 'ERR_INVALID_ARG_VALUE'],
    ['a directory by its slash', '/tmp/', 'ERR_INVALID_ARG_VALUE'],
    ['a URL that is no file', new URL('http://localhost/x'), 'ERR_INVALID_URL_SCHEME'],
    ['a URL with NUL', new URL('file:///tmp/a%00b'), 'ERR_INVALID_ARG_VALUE'],
  ])('%s', async (_, wrong, code) => {
    const bad = wrong as string
    expect(thrownBy(() => snapshot(memory, bad)).code).toBe(code)
    for (const call of [inspect, verify, restore]) expect((await rejectionOf(call(bad))).code).toBe(code)
    expect((await rejectionOf(preflight(memory, bad))).code).toBe(code)
  })

  test('strings, relative or not, and file: URLs are accepted', () => {
    for (const good of ['x', './x', '/tmp/x', pathToFileURL(join('/tmp', 'ä b'))]) {
      expect(thrownBy(() => snapshot(memory, good))).toBeInstanceOf(Reached)
    }
  })
})

describe('options of Region.allocate()', () => {
  test.each<[string, unknown, unknown, string]>([
    ['no size', undefined, undefined, 'ERR_INVALID_ARG_TYPE'],
    ['a BigInt', 8n, undefined, 'ERR_INVALID_ARG_TYPE'],
    ['a negative size', -1, undefined, 'ERR_OUT_OF_RANGE'],
    ['a fraction', 0.5, undefined, 'ERR_OUT_OF_RANGE'],
    ['more than an address space', 2 ** 48, undefined, 'ERR_OUT_OF_RANGE'],
    ['an unknown key', 8, { hugepages: true }, 'ERR_INVALID_ARG_VALUE'],
    ['hugePages as a string', 8, { hugePages: 'always' }, 'ERR_INVALID_ARG_TYPE'],
    ['an empty name', 8, { name: '' }, 'ERR_INVALID_ARG_VALUE'],
    ['a name of a wrong type', 8, { name: 7 }, 'ERR_INVALID_ARG_TYPE'],
    ['a name that is too long', 8, { name: 'ä'.repeat(128) }, 'ERR_INVALID_ARG_VALUE'],
  ])('%s', (_, size, options, code) => {
    expect(thrownBy(() => Region.allocate(size as number, options as object)).code).toBe(code)
  })
})

describe('options of verify() and restore()', () => {
  test.each<[string, unknown, string]>([
    ['an unknown key', { maxproblems: 1 }, 'ERR_INVALID_ARG_VALUE'],
    ['maxProblems 0', { maxProblems: 0 }, 'ERR_OUT_OF_RANGE'],
    ['maxProblems as a string', { maxProblems: '1' }, 'ERR_INVALID_ARG_TYPE'],
    ['signal', { signal: 1 }, 'ERR_INVALID_ARG_TYPE'],
    ['onProgress', { onProgress: 1 }, 'ERR_INVALID_ARG_TYPE'],
  ])('verify: %s', async (_, options, code) => {
    expect((await rejectionOf(verify(path, options as object))).code).toBe(code)
  })

  const memory = new ArrayBuffer(8)
  test.each<[string, unknown, string]>([
    ['an unknown key', { target: {} }, 'ERR_INVALID_ARG_VALUE'],
    ['an unknown mode', { mode: 'mmap' }, 'ERR_INVALID_ARG_VALUE'],
    ['verify as a string', { verify: 'no' }, 'ERR_INVALID_ARG_TYPE'],
    ['maxBytes 0', { maxBytes: 0 }, 'ERR_OUT_OF_RANGE'],
    ['sections that are no array', { sections: 'main' }, 'ERR_INVALID_ARG_TYPE'],
    ['sections with a number', { sections: [1] }, 'ERR_INVALID_ARG_TYPE'],
    ['no sections', { sections: [] }, 'ERR_INVALID_ARG_VALUE'],
    ['into that names nothing', { into: {} }, 'ERR_INVALID_ARG_VALUE'],
    ['into that is an array', { into: [memory] }, 'ERR_INVALID_ARG_TYPE'],
    ['into that is memory', { into: memory }, 'ERR_INVALID_ARG_TYPE'],
    ['into with something else', { into: { main: 'x' } }, 'ERR_INVALID_ARG_TYPE'],
    [
      'into with shared bytes',
      { into: { a: memory, b: new Uint8Array(memory, 7) } },
      'ERR_INVALID_ARG_VALUE',
    ],
    ['into against sections', { into: { a: memory }, sections: ['b'] }, 'ERR_INVALID_ARG_VALUE'],
  ])('restore: %s', async (_, options, code) => {
    expect((await rejectionOf(restore(path, options as object))).code).toBe(code)
  })
})

function cycle(): object {
  const object: { self?: object } = {}
  object.self = object
  return object
}
