/**
 * Promise: the types accept what works and reject what does not. Proved by the type checker, which runs over this
 * file with the rest; nothing here needs to run.
 */

import { expect, expectTypeOf, test } from 'vitest'
import {
  type Capabilities,
  type EngineName,
  type JsonValue,
  type Preflight,
  preflight,
  Region,
  Restored,
  restore,
  Snapshot,
  type SnapshotInfo,
  type SnapshotProgress,
  type SnapshotResult,
  snapshot,
  type VerifyReport,
  verify,
} from '../../lib/index.js'

test('sources', () => {
  const check = (region: Region): void => {
    expectTypeOf(snapshot(region, 'x')).toEqualTypeOf<Snapshot>()
    snapshot({ a: region, b: new Float32Array(1), c: new DataView(new ArrayBuffer(1)) }, new URL('file:///x'))
    snapshot(Buffer.alloc(1), 'x')
    snapshot(new SharedArrayBuffer(1), 'x')
    // @ts-expect-error: a string is no memory
    snapshot('bytes', 'x')
    // @ts-expect-error: neither is a list of memories
    snapshot([new ArrayBuffer(1)], 'x')
    // @ts-expect-error: a section that is no memory
    snapshot({ a: 1 }, 'x')
  }
  expect(check).toBeTypeOf('function')
})

test('options', () => {
  const check = (region: Region): void => {
    snapshot(region, 'x', { engine: 'auto', metadata: { list: [1, 'a', null, { deep: true }] } })
    // @ts-expect-error: misspelt
    snapshot(region, 'x', { memorylimit: 1 })
    // @ts-expect-error: no such engine
    snapshot(region, 'x', { engine: 'vfork' })
    // @ts-expect-error: JSON has no BigInt
    snapshot(region, 'x', { metadata: 1n })
    // @ts-expect-error: nor functions
    snapshot(region, 'x', { metadata: { f: () => {} } })
    void preflight(region, 'x', { mode: 0o644 })
    void verify('x', { maxProblems: 1 })
    void restore('x', {
      into: { main: region, other: new Uint8Array(1) },
      sections: ['main', 'other'] as const,
    })
    // @ts-expect-error: into needs names
    void restore('x', { into: 3 })
  }
  expect(check).toBeTypeOf('function')
})

test('results', () => {
  expectTypeOf<Snapshot['done']>().toEqualTypeOf<Promise<SnapshotResult>>()
  expectTypeOf<Snapshot['progress']>().toEqualTypeOf<SnapshotProgress>()
  expectTypeOf<Snapshot['engine']>().toEqualTypeOf<EngineName>()
  expectTypeOf<SnapshotProgress['etaMs']>().toEqualTypeOf<number | undefined>()
  expectTypeOf<Restored['regions']>().toEqualTypeOf<Record<string, Region>>()
  expectTypeOf<Restored['metadata']>().toEqualTypeOf<JsonValue | undefined>()
  expectTypeOf<Restored['info']>().toEqualTypeOf<SnapshotInfo>()
  expectTypeOf<Awaited<ReturnType<typeof verify>>>().toEqualTypeOf<VerifyReport>()
  expectTypeOf<Awaited<ReturnType<typeof preflight>>>().toEqualTypeOf<Preflight>()
  expectTypeOf<Capabilities['engines']>().toHaveProperty('fork')
  // @ts-expect-error: made by Region.allocate() only
  expect(() => new Region()).toThrow(TypeError)
  // @ts-expect-error: made by snapshot() only
  expect(() => new Snapshot()).toThrow(TypeError)
  // @ts-expect-error: made by restore() only
  expect(() => new Restored()).toThrow(TypeError)
})
