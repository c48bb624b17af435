/**
 * Promise: the public functions behave as documented with the real addon and real files. Proved by
 * taking snapshots of every kind of memory, reading them back and comparing, and by provoking the
 * ordinary failures.
 */

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  capabilities,
  inspect,
  preflight,
  Region,
  restore,
  type Source,
  snapshot,
  verify,
} from '../../lib/index.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { detach, growableBuffer, resizableBuffer, transferred, wasmMemory } from '../support/memory-kinds.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
let directory = ''
let path = ''

beforeEach(() => {
  directory = inDirectory()
  path = inDirectory('memory.stillframe')
})

/** Fills memory with bytes that depend on the position and the seed. */
function fill(bytes: Uint8Array, seed: number): Uint8Array {
  for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 31 + (at >>> 8) * 17 + seed * 101 + 1) & 0xff
  return bytes
}

/**
 * The bytes of a source. Compare more than a few by their hash, which is as conclusive and prints
 * better.
 */
function bytesOf(source: Source): Uint8Array {
  if (source instanceof Region) return new Uint8Array(source.buffer)
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
  return new Uint8Array('grow' in source && 'buffer' in source ? source.buffer : source)
}
const hash = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

const size = 300_001

/** One filled source of each kind of memory. */
function everyKind(): Record<string, Source> {
  const region = Region.allocate(size)
  const small = Region.allocate(size, { hugePages: false })
  fill(new Uint8Array(small.buffer), 11)
  const resizable = resizableBuffer(size, 2 * size)
  const plain = new ArrayBuffer(size)
  const sources: Record<string, Source> = {
    region,
    partOfRegion: new Uint8Array(small.buffer, 4097, 9000),
    plain,
    shared: new SharedArrayBuffer(size),
    view: new Uint8Array(fill(new Uint8Array(size), 9).buffer, 3, 70_000),
    dataView: new DataView(new ArrayBuffer(5000), 1, 4999),
    pooled: Buffer.from('a few bytes that lie beside others'),
    resizable,
    growable: growableBuffer(size, 2 * size),
    wasm: wasmMemory(2),
    sharedWasm: wasmMemory(2, 4, true),
    bufferOfWasm: wasmMemory(2).buffer,
    empty: new ArrayBuffer(0),
    emptyWasm: wasmMemory(0),
    emptyRegion: Region.allocate(0),
    // Whole blocks of zeros, which the file leaves out, around one nonzero byte.
    sparse: new ArrayBuffer(1 << 21),
    sparseRegion: Region.allocate(1 << 21),
  }
  for (const name of ['sparse', 'sparseRegion']) bytesOf(sources[name] as Source)[1 << 20] = 1
  const asTheyAre = ['pooled', 'sparse', 'sparseRegion']
  Object.entries(sources).forEach(([name, source], seed) => {
    if (!asTheyAre.includes(name)) fill(bytesOf(source), seed)
  })
  return sources
}

describe('a round trip', () => {
  test('gives back every kind of memory as it was at the call', async () => {
    const sources = everyKind()
    const expected = Object.entries(sources).map(([name, source]) => [name, hash(bytesOf(source))])
    const taken = snapshot(sources, path, { metadata: { epoch: 7 } })
    // The memory was frozen during the call: the file contains nothing that is written from here
    // on.
    for (const source of Object.values(sources)) bytesOf(source).fill(0xee)
    const result = await taken.done

    for (const mode of ['map', 'copy'] as const) {
      const restored = await restore(path, { mode })
      expect(Object.entries(restored.regions).map(([name, region]) => [name, hash(bytesOf(region))])).toEqual(
        expected,
      )
      expect(restored.metadata).toEqual({ epoch: 7 })
      expect(restored.info).toMatchObject({
        id: taken.id,
        frozenAt: taken.frozenAt,
        fileSize: result.fileSize,
        allocatedBytes: result.allocatedBytes,
      })
      restored.close()
    }
    expect(result).toMatchObject({ id: taken.id, path, byteLength: (await inspect(path)).byteLength })
    expect(await verify(path)).toMatchObject({ ok: true, problems: [] })
  })

  test('fills existing memory of every kind', async () => {
    const sources = everyKind()
    const expected = Object.entries(sources).map(([name, source]) => [name, hash(bytesOf(source))])
    await snapshot(sources, path).done
    for (const source of Object.values(sources)) bytesOf(source).fill(0xee)
    const { regions } = await restore(path, { into: sources })
    expect(regions).toEqual({})
    expect(Object.entries(sources).map(([name, source]) => [name, hash(bytesOf(source))])).toEqual(expected)
  })

  test('leaves what is around a target alone', async () => {
    await snapshot(fill(new Uint8Array(1000), 1), path).done
    const around = new Uint8Array(3000).fill(0xee)
    await restore(path, { into: { main: around.subarray(1000) } })
    expect(hash(around.subarray(1000, 2000))).toBe(hash(fill(new Uint8Array(1000), 1)))
    expect([...around.subarray(0, 1000), ...around.subarray(2000)].every((byte) => byte === 0xee)).toBe(true)
  })

  test('sources may overlap: each section has all of its bytes', async () => {
    const plain = new ArrayBuffer(4 << 20)
    const shared = new SharedArrayBuffer(4 << 20)
    const region = Region.allocate(4 << 20)
    for (const memory of [plain, shared, region.buffer]) fill(new Uint8Array(memory), 5)
    const sources = {
      plain,
      again: plain,
      part: new Uint8Array(plain, 12_345, 1 << 20),
      shared,
      sharedAgain: structuredClone(shared),
      region,
      partOfRegion: new Uint8Array(region.buffer, 4096 * 3, 1 << 20),
    }
    await snapshot(sources, path).done
    const { regions } = await restore(path)
    for (const [name, source] of Object.entries(sources)) {
      expect([name, hash(bytesOf(regions[name] as Region))]).toEqual([name, hash(bytesOf(source))])
    }
  })

  test('memory that is transferred away after the call is in the file all the same', async () => {
    const buffer = new ArrayBuffer(4 << 20)
    const expected = hash(fill(new Uint8Array(buffer), 3))
    const taken = snapshot(buffer, path)
    detach(buffer)
    await taken.done
    expect(hash(bytesOf((await restore(path)).regions.main as Region))).toBe(expected)
  })
})

describe('regions', () => {
  test('cannot be closed while they are captured, whole or in part', async () => {
    const region = Region.allocate(8 << 20)
    fill(new Uint8Array(region.buffer), 1)
    for (const source of [region, new Uint8Array(region.buffer, 4096, 4 << 20)]) {
      const taken = snapshot(source, path)
      expect(thrownBy(() => region.close()).code).toBe('ERR_STILLFRAME_BUSY')
      await taken.done
    }
    region.close()
    expect(thrownBy(() => snapshot(region, path)).code).toBe('ERR_STILLFRAME_CLOSED')
  })

  test('whoever has taken their memory over keeps it when they are closed', () => {
    const region = Region.allocate(size)
    const expected = hash(fill(new Uint8Array(region.buffer), 4))
    const taken = transferred(region.buffer)
    region.close()
    expect(hash(new Uint8Array(taken))).toBe(expected)
  })

  test('more than there is memory for is an error of the system', () => {
    const error = thrownBy(() => Region.allocate(2 ** 47))
    expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_IO', syscall: 'mmap' })
    expect(error.errno).toBeLessThan(0)
  })
})

describe('failures', () => {
  const source = fill(new Uint8Array(4 << 20), 1)

  test('abort leaves the previous file and nothing else', async () => {
    await snapshot(source, path).done
    const before = readFileSync(path)
    for (let round = 0; round < 20; round++) {
      // At this rate a capture takes 15 s, so the abort is in time however late it comes.
      const options = { maxBytesPerSecond: 1 << 20 }
      const taken = snapshot(new Uint8Array(16 << 20).fill(round + 1), path, options)
      const reason = new Error('changed my mind')
      taken.abort(reason)
      expect(await rejectionOf(taken.done)).toBe(reason)
    }
    expect(readFileSync(path).equals(before)).toBe(true)
    expect(readdirSync(directory)).toEqual(['memory.stillframe'])
  })

  test('a signal and await using abort too', async () => {
    const taken = snapshot(new Uint8Array(16 << 20).fill(1), path, { signal: AbortSignal.timeout(0) })
    const seen = await taken.done.then(
      () => 'complete',
      (error: Error) => error.name,
    )
    expect(['TimeoutError', 'complete']).toContain(seen)
    const other = snapshot(new Uint8Array(16 << 20).fill(1), join(directory, 'other'))
    await other[Symbol.asyncDispose]()
    expect(readdirSync(directory)).not.toContain('other')
  })

  test('overwrite: false refuses an existing file', async () => {
    await snapshot(source, path, { overwrite: false }).done
    const refused = async (): Promise<unknown> => await snapshot(source, path, { overwrite: false }).done
    const error = await rejectionOf(refused())
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_EXISTS', path })
  })

  test('a directory that does not exist, or is no directory', async () => {
    for (const where of [join(directory, 'none', 'x'), join('/dev/null', 'x')]) {
      const error = thrownBy(() => snapshot(source, where))
      expect(error).toMatchObject({ code: 'ERR_STILLFRAME_IO', path: where, syscall: 'open' })
      expect(error.errno).toBeLessThan(0)
      expect(error.message).toContain(where)
      expect((await rejectionOf(preflight(source, where))).code).toBe('ERR_STILLFRAME_IO')
    }
  })

  test('what is no regular file, exists already, or has too long a name: preflight() says so too', async () => {
    const old = join(directory, 'old')
    writeFileSync(old, 'old')
    for (const [where, options] of [
      [directory, {}],
      ['/dev/null', {}],
      [old, { overwrite: false }],
      [join(directory, 'x'.repeat(256)), {}],
    ] as const) {
      const { code, errno } = thrownBy(() => snapshot(source, where, options))
      expect(errno).toBeLessThan(0)
      expect(await rejectionOf(preflight(source, where, options))).toMatchObject({ code, errno, path: where })
    }
  })

  test('a file that is missing, no snapshot, or damaged', async () => {
    for (const read of [inspect, restore, verify]) {
      const error = await rejectionOf(read(path))
      expect(error).toMatchObject({ code: 'ERR_STILLFRAME_IO', path, errno: -2 })
      expect(error.stack).toContain('end-to-end.test')
    }

    writeFileSync(path, 'something else entirely')
    for (const read of [inspect, restore]) {
      expect(await rejectionOf(read(path))).toMatchObject({ code: 'ERR_STILLFRAME_FORMAT', path })
    }
    expect(await verify(path)).toMatchObject({ ok: false, problems: [{}] })

    await snapshot({ first: new Uint8Array(10).fill(1), second: source }, path).done
    const bytes = readFileSync(path)
    const { sections } = await inspect(path)
    const offset = (sections[1]?.fileOffset ?? 0) + 5000
    bytes[offset] = (bytes[offset] ?? 0) ^ 1
    writeFileSync(path, bytes)
    const error = await rejectionOf(restore(path))
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path, section: 'second' })
    const report = await verify(path)
    expect(report).toMatchObject({ ok: false, problems: [{ section: 'second' }] })
    expect(report.problems[0]?.offset).toBe((error as { offset?: number }).offset)
    // Undamaged sections can still be restored if not everything is verified.
    const { regions } = await restore(path, { sections: ['first'], verify: false })
    expect(bytesOf(regions.first as Region)).toEqual(new Uint8Array(10).fill(1))
  })

  test('maxBytes, sections that are missing, targets that are too small', async () => {
    await snapshot({ a: source, b: new Uint8Array(10) }, path).done
    expect((await rejectionOf(restore(path, { maxBytes: source.length }))).code).toBe('ERR_OUT_OF_RANGE')
    expect(Object.keys((await restore(path, { maxBytes: 10, sections: ['b'] })).regions)).toEqual(['b'])
    expect((await rejectionOf(restore(path, { sections: ['c'] }))).message).toMatch(/'c'.*'a'.*'b'/)
    expect((await rejectionOf(restore(path, { into: { b: new Uint8Array(9) } }))).code).toBe(
      'ERR_OUT_OF_RANGE',
    )
  })

  test('a read can be aborted, and memory that goes away ends a restore', async () => {
    await snapshot(new Uint8Array(32 << 20).fill(1), path).done
    const controller = new AbortController()
    const reads = [verify, restore].map((read) => rejectionOf(read(path, { signal: controller.signal })))
    controller.abort('enough')
    expect(await Promise.all(reads)).toEqual(['enough', 'enough'])

    const target = new ArrayBuffer(32 << 20)
    const rejection = rejectionOf(
      restore(path, {
        into: { main: target },
        verify: false,
        onProgress: () => target.byteLength && detach(target),
      }),
    )
    // Detach the target as soon as the first chunk has arrived.
    while (target.byteLength > 0 && new Uint8Array(target)[0] === 0)
      await new Promise((next) => setImmediate(next))
    if (target.byteLength > 0) detach(target)
    expect(await rejection).toMatchObject({ code: 'ERR_STILLFRAME_CLOSED', path })
  })
})

test('capabilities() and preflight() answer on this machine', async () => {
  const { engines, kernel, pageSize } = capabilities()
  expect(engines.fork.available).toBe(true)
  expect(kernel).not.toBe('')
  expect(pageSize).toBeGreaterThanOrEqual(4096)
  const sources = {
    dense: Region.allocate(8 << 20),
    plain: fill(new Uint8Array(1 << 20), 2),
    // One page in each block of the file, so that the whole block is saved.
    scattered: Region.allocate(8 << 20, { hugePages: false }),
    untouched: Region.allocate(64 << 20),
  }
  fill(bytesOf(sources.dense), 1)
  const scattered = bytesOf(sources.scattered)
  for (let at = 0; at < scattered.length; at += 262_144) scattered[at] = 1

  const found = await preflight(sources, path)
  expect(found.engine).toBe('fork')
  expect(found.availableBytes).toBeGreaterThan(0)
  expect(found.worstCaseExtraBytes).toBeGreaterThanOrEqual(9 << 20)
  await snapshot(sources, path).done
  expect(found.neededDiskBytes).toBeGreaterThanOrEqual((await inspect(path)).allocatedBytes)

  const nothing = await preflight(sources.untouched, path)
  expect(nothing.neededDiskBytes).toBeLessThan(1 << 20)
  expect(nothing.worstCaseExtraBytes).toBe(0)
})
