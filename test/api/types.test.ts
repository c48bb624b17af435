/**
 * Promise: the types accept what works and reject what does not. Proved by the type checker, which
 * checks this file with all others; nothing here needs to run.
 */

import { expect, expectTypeOf, test } from 'vitest'
import {
  type Capabilities,
  type EngineName,
  inspect,
  type JsonValue,
  type Preflight,
  preflight,
  Region,
  type RegionOptions,
  Restored,
  type RestoreOptions,
  restore,
  Snapshot,
  type SnapshotInfo,
  type SnapshotOptions,
  type SnapshotProgress,
  type SnapshotResult,
  snapshot,
  type VerifyOptions,
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

test('shared regions', () => {
  const check = (options: RegionOptions): void => {
    expectTypeOf(Region.allocate(1).buffer).toEqualTypeOf<ArrayBuffer>()
    expectTypeOf(Region.allocate(1, { name: 'a', shared: false }).buffer).toEqualTypeOf<ArrayBuffer>()
    expectTypeOf(Region.allocate(1, options).buffer).toEqualTypeOf<ArrayBufferLike>()
    const shared = Region.allocate(1, { name: 'a', shared: true })
    expectTypeOf(shared).toEqualTypeOf<Region<SharedArrayBuffer>>()
    expectTypeOf(shared.buffer).toEqualTypeOf<SharedArrayBuffer>()
    snapshot({ shared, other: Region.allocate(1) }, 'x')
    void restore('x', { into: { shared, view: new Uint8Array(shared.buffer) } })
    // @ts-expect-error: its buffer can be detached by nobody
    const other: Region = shared
    void other
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

interface Vector {
  dims: number
  names: readonly string[]
  at?: Date
  parent?: Vector
}

test('metadata may be of any type that JSON can say, and comes back as the type that is asked for', () => {
  const check = async (region: Region, vector: Vector, json: JsonValue): Promise<void> => {
    snapshot(region, 'x', { metadata: vector })
    snapshot(region, 'x', { metadata: [vector, { deep: vector }] })
    snapshot(region, 'x', { metadata: json })
    snapshot(region, 'x', { metadata: JSON.parse('1') })
    snapshot(region, 'x', { metadata: new Date() })
    snapshot(region, 'x', { metadata: Math.random() > 0.5 ? vector : undefined })
    void preflight(region, 'x', { metadata: vector })
    const generic = <Meta extends JsonValue>(metadata: Meta): Snapshot => snapshot(region, 'x', { metadata })
    generic(1)
    const kept: SnapshotOptions<Vector> = { metadata: vector }
    snapshot(region, 'x', kept)
    // @ts-expect-error: JSON forgets what is in a Map
    snapshot(region, 'x', { metadata: new Map([['a', 1]]) })
    // @ts-expect-error: an interface with something that JSON cannot say
    snapshot(region, 'x', { metadata: { vector } as { vector: Vector; count: bigint } })
    // @ts-expect-error: nobody knows what it is
    snapshot(region, 'x', { metadata: vector as unknown })

    const { metadata, info } = await restore<Vector>('x')
    expectTypeOf(metadata).toEqualTypeOf<Vector | undefined>()
    expectTypeOf(info.metadata).toEqualTypeOf<Vector | undefined>()
    expectTypeOf((await inspect<Vector>('x')).metadata).toEqualTypeOf<Vector | undefined>()
    expectTypeOf((await restore('x')).metadata).toEqualTypeOf<JsonValue | undefined>()
    // A function that ignores the metadata accepts either type.
    expectTypeOf<Restored<Vector>>().toExtend<Restored<unknown>>()
  }
  expect(check).toBeTypeOf('function')
})

test('every option may be undefined, as one that was read from a configuration', () => {
  type Undefined<Options> = { [Key in keyof Required<Options>]: undefined }
  expectTypeOf<Undefined<SnapshotOptions>>().toExtend<SnapshotOptions>()
  expectTypeOf<Undefined<RestoreOptions>>().toExtend<RestoreOptions>()
  expectTypeOf<Undefined<VerifyOptions>>().toExtend<VerifyOptions>()
  expectTypeOf<Undefined<RegionOptions>>().toExtend<RegionOptions>()
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
