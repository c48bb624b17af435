/**
 * Promise: a wrong argument of stillframe/heap throws a TypeError or RangeError that has Node's
 * code and names the argument, before anything else happens. Proved by calls with each kind of
 * mistake where no native addon can be loaded.
 */

import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import type { ForkPlan } from '../../lib/addon/heap-addon.js'
import { type ForkOptions, snapshotState, writeHeapSnapshot } from '../../lib/heap/index.js'
import { thrownBy } from '../support/expect-error.js'

/** Thrown by the fake addon. A call that reaches the addon has accepted its arguments. */
class Reached extends Error {
  constructor(readonly plan: ForkPlan) {
    super('reached')
  }
}

vi.mock('../../lib/addon/heap-addon.js', () => ({
  loadHeapAddon: () => ({
    ForkJob: class {
      constructor(plan: ForkPlan) {
        throw new Reached(plan)
      }
    },
  }),
}))

const path = '/tmp/never-written'
const calls: [string, (options?: unknown, at?: unknown) => unknown][] = [
  ['snapshotState()', (options, at = path) => snapshotState(at as string, () => {}, options as ForkOptions)],
  ['writeHeapSnapshot()', (options, at = path) => writeHeapSnapshot(at as string, options as ForkOptions)],
]

describe.each(calls)('%s', (_, take) => {
  test.each<[string, unknown, string, RegExp]>([
    ['null', null, 'ERR_INVALID_ARG_TYPE', /^options must be an object, not null/],
    ['a function', () => {}, 'ERR_INVALID_ARG_TYPE', /^options must be an object/],
    ['an array', [], 'ERR_INVALID_ARG_TYPE', /^options must be an object/],
    ['an unknown key', { timeoutms: 1 }, 'ERR_INVALID_ARG_VALUE', /options\.timeoutms .*timeoutMs/],
    ['one of snapshot() only', { engine: 'fork' }, 'ERR_INVALID_ARG_VALUE', /options\.engine/],
    ['memoryLimit as a string', { memoryLimit: '1G' }, 'ERR_INVALID_ARG_TYPE', /options\.memoryLimit/],
    ['memoryLimit 0', { memoryLimit: 0 }, 'ERR_OUT_OF_RANGE', /options\.memoryLimit .*from 1 to/],
    ['memoryLimit with a fraction', { memoryLimit: 1.5 }, 'ERR_OUT_OF_RANGE', /options\.memoryLimit/],
    ['memoryLimit infinite', { memoryLimit: Number.POSITIVE_INFINITY }, 'ERR_OUT_OF_RANGE', /Infinity/],
    ['stallTimeoutMs 0', { stallTimeoutMs: 0 }, 'ERR_OUT_OF_RANGE', /options\.stallTimeoutMs/],
    ['stallTimeoutMs too long', { stallTimeoutMs: 2 ** 31 }, 'ERR_OUT_OF_RANGE', /options\.stallTimeoutMs/],
    ['timeoutMs 0', { timeoutMs: 0 }, 'ERR_OUT_OF_RANGE', /options\.timeoutMs/],
    ['timeoutMs NaN', { timeoutMs: Number.NaN }, 'ERR_OUT_OF_RANGE', /options\.timeoutMs/],
    ['overwrite as a string', { overwrite: 'no' }, 'ERR_INVALID_ARG_TYPE', /options\.overwrite/],
    ['durable null', { durable: null }, 'ERR_INVALID_ARG_TYPE', /options\.durable/],
    ['mode as a string', { mode: '0600' }, 'ERR_INVALID_ARG_TYPE', /options\.mode/],
    ['mode with file type bits', { mode: 0o100600 }, 'ERR_OUT_OF_RANGE', /options\.mode/],
    ['nice below zero', { nice: -1 }, 'ERR_OUT_OF_RANGE', /options\.nice .*from 0 to 19/],
    ['nice above 19', { nice: 20 }, 'ERR_OUT_OF_RANGE', /options\.nice/],
    ['nice as a boolean', { nice: true }, 'ERR_INVALID_ARG_TYPE', /options\.nice/],
    ['signal that is none', { signal: {} }, 'ERR_INVALID_ARG_TYPE', /options\.signal .*AbortSignal/],
    ['onProgress that is no function', { onProgress: true }, 'ERR_INVALID_ARG_TYPE', /options\.onProgress/],
  ])('options: %s', (_, options, code, message) => {
    const error = thrownBy(() => take(options))
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
    expect(error).toBeInstanceOf(code === 'ERR_OUT_OF_RANGE' ? RangeError : TypeError)
  })

  test.each<[string, unknown, string]>([
    ['a number', 5, 'ERR_INVALID_ARG_TYPE'],
    ['null', null, 'ERR_INVALID_ARG_TYPE'],
    ['an empty one', '', 'ERR_INVALID_ARG_VALUE'],
    ['one with NUL', 'a\0b', 'ERR_INVALID_ARG_VALUE'],
    ['a directory', '/tmp/', 'ERR_INVALID_ARG_VALUE'],
    ['a URL of something else', new URL('https://example.com/file'), 'ERR_INVALID_URL_SCHEME'],
  ])('path: %s', (name, at, code) => {
    expect(
      thrownBy(() => take({}, at)),
      name,
    ).toMatchObject({ code })
  })

  test('right ones are passed on, with defaults', () => {
    const planOf = (...args: Parameters<typeof take>): ForkPlan =>
      (thrownBy(() => take(...args)) as Reached).plan
    expect(planOf(undefined, 'relative')).toMatchObject({
      target: { path: resolve('relative'), overwrite: true, mode: 0o600, durable: true },
      pacing: { nice: 10 },
      limits: { memoryLimit: 0, stallTimeoutMs: 30_000, timeoutMs: 3_600_000 },
    })
    const file = { overwrite: false, mode: 0o640, durable: false }
    const limits = { memoryLimit: 1, stallTimeoutMs: 1, timeoutMs: 2 ** 31 - 1 }
    const options = { ...file, ...limits, nice: 0 }
    const signal = new AbortController().signal
    const at = join('/tmp', 'ä b')
    expect(planOf({ ...options, signal, onProgress: () => {} }, pathToFileURL(at))).toMatchObject({
      target: { path: at, ...file },
      pacing: { nice: 0 },
      limits,
    })
    expect(planOf({ mode: undefined, nice: undefined }).target.mode).toBe(0o600)
  })
})

test('redact and stableIds are for heap snapshots', () => {
  for (const key of ['redact', 'stableIds'] as const) {
    const planOf = (options: object): ForkPlan =>
      (thrownBy(() => writeHeapSnapshot(path, options)) as Reached).plan
    expect(planOf({})[key]).toBe(false)
    expect(planOf({ [key]: true })[key]).toBe(true)
    expect(thrownBy(() => writeHeapSnapshot(path, { [key]: 1 as never }))).toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
      message: expect.stringMatching(`options.${key}`),
    })
    expect(thrownBy(() => snapshotState(path, () => {}, { [key]: true } as ForkOptions))).toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
      message: expect.stringMatching(`options.${key}`),
    })
  }
})

test.each([[undefined], [null], [{}], ['text']])('snapshotState(): %s is no callback', (write) => {
  const error = thrownBy(() => snapshotState(path, write as unknown as () => void))
  expect(error).toMatchObject({
    code: 'ERR_INVALID_ARG_TYPE',
    message: expect.stringMatching(/^write must be a function/),
  })
})
