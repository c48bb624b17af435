/**
 * Promise: the types of stillframe/heap accept what works and reject what does not. Proved by the type checker, which
 * runs over this file with the rest; nothing here needs to run.
 */

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

test('heap snapshots', () => {
  const check = (): void => {
    expectTypeOf(writeHeapSnapshot()).toEqualTypeOf<ForkJob>()
    writeHeapSnapshot('x')
    writeHeapSnapshot(new URL('file:///x'), { nice: 0 })
    writeHeapSnapshot(undefined, { durable: false })
    // @ts-expect-error: a name, not a stream
    writeHeapSnapshot(process.stdout)
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

test('a callback that returns something may be async by mistake', () => {
  const check = (): void => {
    // As everywhere in TypeScript a function of void may return anything: the copy refuses it when it runs.
    snapshotState('x', async () => {})
  }
  expect(check).toBeTypeOf('function')
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
