/**
 * Promise: the types of stillframe/heap accept correct calls and reject incorrect ones. Proved by
 * the type checker, which checks this file with the rest; hardly anything here needs to run.
 */

import { Readable } from 'node:stream'
import { expect, expectTypeOf, test } from 'vitest'
import {
  ForkJob,
  type ForkOptions,
  type ForkProgress,
  type ForkResult,
  type PauseParts,
  readValues,
  type StateWriter,
  snapshotState,
  writeHeapSnapshot,
} from '../../lib/heap/index.js'
import { checkForkOptions } from '../../lib/heap/options.js'

test('heap snapshots', () => {
  const check = (): void => {
    expectTypeOf(writeHeapSnapshot()).toEqualTypeOf<ForkJob>()
    writeHeapSnapshot('x')
    writeHeapSnapshot(new URL('file:///x'), { nice: 0 })
    writeHeapSnapshot(undefined, { durable: false })
    writeHeapSnapshot(process.stdout)
    // @ts-expect-error: a stream to read from
    writeHeapSnapshot(new Readable())
    // @ts-expect-error: misspelt
    writeHeapSnapshot('x', { memorylimit: 1 })
  }
  expect(check).toBeTypeOf('function')
})

test('state', () => {
  const check = (): void => {
    const cache = new Map<string, object>()
    const job = snapshotState('x', (out) => {
      expectTypeOf(out).toEqualTypeOf<StateWriter>()
      out.write('text')
      out.write(Buffer.alloc(1))
      out.write(new Uint8Array(1))
      for (const entry of cache) out.value(entry)
      // @ts-expect-error: elements are not bytes
      out.write(new Float32Array(1))
      // @ts-expect-error: a number is no text
      out.write(1)
    })
    expectTypeOf(job).toEqualTypeOf<ForkJob>()
    // @ts-expect-error: what is it to write?
    snapshotState('x')
    // @ts-expect-error: state needs a file of its own
    snapshotState(undefined, () => {})
    // @ts-expect-error: no such option
    snapshotState('x', () => {}, { engine: 'fork' })
  }
  expect(check).toBeTypeOf('function')
})

test('a callback whose work would be done later is refused', () => {
  const check = (cache: Map<string, number>, sometimes: () => void | Promise<void>): void => {
    // @ts-expect-error: a promise
    snapshotState('x', async (out) => out.value(1))
    // @ts-expect-error: perhaps a promise
    snapshotState('x', sometimes)
    // @ts-expect-error: a generator
    snapshotState('x', function* (out) {
      yield out.value(1)
    })
    // @ts-expect-error: a generator that is asynchronous, too
    snapshotState('x', async function* (out) {
      yield out.value(1)
    })
    // @ts-expect-error: a function of functions
    snapshotState('x', (out) => () => out.value(1))
    // Any other return value is harmless.
    snapshotState('x', (out) => cache.forEach(out.value))
    snapshotState('x', () => cache.set('a', 1))
    snapshotState('x', () => cache.size > 1 || undefined)
    snapshotState('x', () => {
      throw new Error()
    })
    const write: (out: StateWriter) => void = (out) => out.write('')
    snapshotState('x', write)
    snapshotState('x', JSON.parse('any'))
  }
  expect(check).toBeTypeOf('function')
})

test('values may be given a type, and are unknown without', () => {
  const check = async (): Promise<void> => {
    for await (const [id, { user }] of readValues<[string, { user: number }]>('x')) {
      expectTypeOf(id).toEqualTypeOf<string>()
      expectTypeOf(user).toEqualTypeOf<number>()
    }
    for await (const value of readValues('x')) expectTypeOf(value).toEqualTypeOf<unknown>()
  }
  expect(check).toBeTypeOf('function')
})

test('every option may be undefined', () => {
  const undefineds: { [Key in keyof Required<ForkOptions>]: undefined } = {
    signal: undefined,
    stallTimeoutMs: undefined,
    timeoutMs: undefined,
    memoryLimit: undefined,
    overwrite: undefined,
    mode: undefined,
    durable: undefined,
    nice: undefined,
    retry: undefined,
    onProgress: undefined,
  }
  expectTypeOf(undefineds).toExtend<ForkOptions>()
  expect(checkForkOptions(undefineds)).toEqual(checkForkOptions({}))
})

test('results', () => {
  expectTypeOf<ForkJob['done']>().toEqualTypeOf<Promise<ForkResult>>()
  expectTypeOf<ForkJob['progress']>().toEqualTypeOf<ForkProgress>()
  expectTypeOf<ForkJob['pid']>().toEqualTypeOf<number>()
  expectTypeOf<ForkJob>().toExtend<AsyncIterable<ForkProgress>>()
  expectTypeOf<ForkJob>().toExtend<AsyncDisposable>()
  expectTypeOf<ForkResult['pause']>().toEqualTypeOf<PauseParts>()
  expectTypeOf<ForkOptions['onProgress']>().toEqualTypeOf<((progress: ForkProgress) => void) | undefined>()
  expectTypeOf(readValues).returns.toExtend<AsyncIterable<unknown>>()
  // @ts-expect-error: made by writeHeapSnapshot() and snapshotState() only
  expect(() => new ForkJob()).toThrow(TypeError)
})
