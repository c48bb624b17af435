/**
 * Promise: a file of snapshotState() contains exactly the bytes that the callback writes, in order,
 * for the state at the call. Proved by changing the whole state right after the call and comparing
 * the file with a copy made before it.
 */

import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { readValues, type StateWriter, snapshotState } from 'stillframe/heap'
import { describe, expect, onTestFinished, test } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { needsMemoryDirectory, needsTools } from '../support/needs.js'
import { fillPattern, hashOf } from '../support/pattern.mjs'
import { temporaryFilesIn, useTemporaryDirectory } from '../support/temporary-directory.js'
import { valuesOf } from './values-of.js'

const inDirectory = useTemporaryDirectory()

describe('one instant', () => {
  test('holds what the service changes and drops right after the call, and nothing that it makes then', async () => {
    const makeState = () => ({
      markers: Array.from({ length: 1000 }, (_, id) => ({ id, tags: new Set([`tag ${id}`]) })),
      count: 1,
      nested: { deep: { list: [1, [2, [3]]] as unknown[] } },
      bytes: new Uint8Array(100_000).fill(1),
      // Too large for malloc's own arenas.
      floats: new Float64Array(1 << 20).fill(0.5),
      shared: new Map([['since', new Date(0)]]),
    })
    const state: ReturnType<typeof makeState> & { late?: unknown } = makeState()
    const made: unknown[] = []
    const job = snapshotState(inDirectory('file'), (out) => {
      out.value(state)
      out.value(made)
    })
    for (const marker of state.markers) {
      marker.id = -1
      marker.tags.clear()
    }
    state.markers.length = 0
    state.count++
    state.nested.deep.list.push('late')
    state.bytes.fill(2)
    state.floats.fill(-1)
    state.shared.get('since')?.setTime(1)
    state.shared.set('late', new Date(2))
    state.late = 'late'
    made.push('late')
    await job.done
    const [saved, madeThen] = (await valuesOf(inDirectory('file'))) as [typeof state, unknown]
    const { floats, ...rest } = makeState()
    const { floats: savedFloats, ...savedRest } = saved
    expect(savedRest).toEqual(rest)
    expect(hashOf(new Uint8Array(savedFloats.buffer, savedFloats.byteOffset, floats.byteLength))).toBe(
      hashOf(floats.buffer),
    )
    expect(madeThen).toEqual([])
  })

  test('holds a Map of 100,000 objects of which the service deletes all right after the call', async () => {
    const cache = new Map(Array.from({ length: 100_000 }, (_, key) => [key, { key, text: `value ${key}` }]))
    const job = snapshotState(inDirectory('file'), (out) => {
      for (const entry of cache) out.value(entry)
    })
    cache.clear()
    await job.done
    let next = 0
    for await (const value of readValues(inDirectory('file'))) {
      const [key, entry] = value as [number, { key: number; text: string }]
      if (key !== next || entry.key !== next || entry.text !== `value ${next}`) break
      next++
    }
    expect(next).toBe(100_000)
  })

  test('two files of different instants do not mix', async () => {
    const state = { generation: 1 }
    const write = (out: StateWriter): void => out.value(state)
    const first = snapshotState(inDirectory('first'), write)
    state.generation = 2
    const second = snapshotState(inDirectory('second'), write)
    state.generation = 3
    await Promise.all([first.done, second.done])
    expect(await valuesOf(inDirectory('first'))).toEqual([{ generation: 1 }])
    expect(await valuesOf(inDirectory('second'))).toEqual([{ generation: 2 }])
  })
})

describe('out.value()', () => {
  test('keeps what the structured clone keeps, in the order of the calls', async () => {
    const cyclic: { self?: unknown; name: string } = { name: 'cyclic' }
    cyclic.self = cyclic
    const twice = { shared: true }
    const values = [
      undefined,
      null,
      -0,
      Number.NaN,
      2n ** 70n,
      'text, \u{1f600} and a lone \ud800',
      new Date(1_700_000_000_123),
      /a+b/giu,
      new Map<unknown, unknown>([[{ key: 1 }, new Set([1, 'a'])]]),
      [twice, twice],
      Object.assign([1, undefined, 3], { extra: true }),
      new TypeError('of a type', { cause: 'a cause' }),
      new Float32Array([1.5, -2.5]),
      new BigInt64Array([-1n]),
      new DataView(new ArrayBuffer(3)),
      new ArrayBuffer(5),
      Buffer.from('bytes'),
    ]
    await snapshotState(inDirectory('file'), (out) => {
      for (const value of values) out.value(value)
      out.value(cyclic)
    }).done
    const read = await valuesOf(inDirectory('file'))
    expect(read.slice(0, -1)).toEqual(values)
    const [again] = read.slice(-1) as [typeof cyclic]
    expect(again.self).toBe(again)
    expect(again.name).toBe('cyclic')
    const [first, second] = read[9] as [object, object]
    expect(first).toBe(second)
  })

  test('bytes that come back belong to nobody else', async () => {
    await snapshotState(inDirectory('file'), (out) => out.value(new Uint8Array([1, 2, 3, 4]))).done
    const [bytes] = (await valuesOf(inDirectory('file'))) as [Uint8Array]
    expect([...bytes]).toEqual([1, 2, 3, 4])
    // Small Buffers are slices of an 8 KiB pool, which also contains whatever the process read
    // last.
    expect(bytes.buffer.byteLength).toBeLessThan(200)
  })
})

describe('out.write()', () => {
  test('writes strings as UTF-8 and bytes as they are', async () => {
    const whole = new Uint8Array([0, 1, 2, 3, 255])
    const shared = new Uint8Array(new SharedArrayBuffer(3)).fill(7)
    await snapshotState(inDirectory('file'), (out) => {
      out.write('ä€\u{1f600}')
      out.write('')
      out.write(whole.subarray(1, 4))
      out.write(new Uint8Array(0))
      out.write(Buffer.from('and a Buffer'))
      out.write(shared)
      // A lone surrogate is not a character, and has no UTF-8 encoding.
      out.write('\ud800')
    }).done
    const expected = Buffer.concat([
      Buffer.from('ä€\u{1f600}'),
      Buffer.from([1, 2, 3]),
      Buffer.from('and a Buffer'),
      Buffer.from([7, 7, 7]),
      Buffer.from('\ufffd'),
    ])
    expect(readFileSync(inDirectory('file')).equals(expected)).toBe(true)
  })

  // The output buffer has 1 MiB. Writes to a disk must be whole blocks, writes to memory can have
  // any length.
  const MiB = 1 << 20
  const sizes: [string, number[]][] = [
    ['nothing', []],
    ['one byte', [1]],
    ['a byte less than the buffer', [MiB - 1]],
    ['the buffer', [MiB]],
    ['a byte more than the buffer', [MiB + 1]],
    ['pieces that fill the buffer', [MiB - 1, 1, MiB, 1]],
    ['pieces across its border', [600_000, 600_000, 600_000, 3]],
    ['one large piece', [3 * MiB + 4097]],
    ['many small pieces', Array.from({ length: 3000 }, (_, i) => i)],
  ]
  async function expectWritten(path: string, lengths: readonly number[]): Promise<void> {
    const bytes = fillPattern(new Uint8Array(lengths.reduce((a, b) => a + b, 0)), lengths.length)
    const job = snapshotState(path, (out) => {
      let at = 0
      for (const length of lengths) {
        out.write(bytes.subarray(at, at + length))
        at += length
      }
    })
    const { fileSize } = await job.done
    expect(fileSize).toBe(bytes.length)
    expect(job.progress.bytesWritten).toBe(bytes.length)
    expect(Buffer.compare(readFileSync(path), bytes)).toBe(0)
  }

  test.each(sizes)('%s', async (_, lengths) => {
    await expectWritten(inDirectory('file'), lengths)
  })

  test.for(sizes)('%s, on a filesystem in memory', async ([, lengths], context) => {
    const path = join(needsMemoryDirectory(context), `stillframe-test-${process.pid}`)
    onTestFinished(() => rmSync(path, { force: true }))
    await expectWritten(path, lengths)
  })

  test.each([
    ['a number', 5],
    ['nothing', undefined],
    ['an ArrayBuffer', new ArrayBuffer(1)],
    ['other elements than bytes', new Uint16Array(1)],
    ['an object', {}],
  ])('refuses %s', async (_, chunk) => {
    const job = snapshotState(inDirectory('file'), (out) => out.write(chunk as Uint8Array))
    const { code, cause } = await rejectionOf(job.done)
    expect(code).toBe('ERR_STILLFRAME_CALLBACK')
    expect(cause).toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_TYPE',
      message: expect.stringMatching(/^chunk must be a string or a Uint8Array/),
    })
  })

  test('tells of a full disk, also when the callback ignores it', async (context) => {
    needsTools(context, 'prlimit')
    for (const what of ['throws', 'swallows']) {
      const fixture = startFixture(
        new URL('fixtures/too-large.mjs', import.meta.url),
        [inDirectory('file'), what],
        {
          wrapper: ['prlimit', '--fsize=2097152'],
        },
      )
      expect(await fixture.report()).toMatchObject({
        ok: false,
        code: 'ERR_STILLFRAME_NO_SPACE',
        syscall: 'pwrite',
      })
      await fixture.end
      expect(readdirSync(inDirectory())).toEqual([])
    }
  })
})

describe('the file', () => {
  const write = (out: StateWriter): void => out.write('new')

  test('is what the result says', async () => {
    const before = Date.now()
    const job = snapshotState(pathToFileURL(inDirectory('file')), write)
    const after = Date.now()
    const result = await job.done
    expect(result).toMatchObject({ path: inDirectory('file'), fileSize: 3, attempts: 1 })
    expect(result.allocatedBytes).toBe(statSync(result.path).blocks * 512)
    expect(result.allocatedBytes).toBeGreaterThanOrEqual(result.fileSize)
    expect(job.path).toBe(result.path)
    expect(result.pauseMs).toBe(job.pauseMs)
    expect(result.frozenAt.getTime()).toBeGreaterThanOrEqual(before - 1)
    expect(result.frozenAt.getTime()).toBeLessThanOrEqual(after + 1)
    const parts = Object.values(result.pause)
    expect(Object.keys(result.pause)).toEqual([
      'parkMs',
      'idsMs',
      'mappingsMs',
      'flipMs',
      'forkMs',
      'restoreMs',
    ])
    expect(parts.every((part) => part >= 0)).toBe(true)
    expect(parts.reduce((a, b) => a + b)).toBeLessThanOrEqual(result.pauseMs)
  })

  test('is for its owner only, or has the mode that was asked for, whatever the umask', async () => {
    const umask = process.umask(0o077)
    try {
      await snapshotState(inDirectory('private'), write).done
      await snapshotState(inDirectory('public'), write, { mode: 0o644 }).done
    } finally {
      process.umask(umask)
    }
    expect(statSync(inDirectory('private')).mode & 0o777).toBe(0o600)
    expect(statSync(inDirectory('public')).mode & 0o777).toBe(0o644)
  })

  test('replaces an older one, or refuses to', async () => {
    writeFileSync(inDirectory('file'), 'old')
    const refuse = () => snapshotState(inDirectory('file'), write, { overwrite: false })
    expect(thrownBy(refuse)).toMatchObject({ code: 'ERR_STILLFRAME_EXISTS', path: inDirectory('file') })
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('old')
    await snapshotState(inDirectory('file'), write).done
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('new')
    await snapshotState(inDirectory('other'), write, { overwrite: false }).done
    expect(readFileSync(inDirectory('other'), 'utf8')).toBe('new')
  })

  test('stays as it was when the callback fails, with nothing beside it', async () => {
    writeFileSync(inDirectory('file'), 'old')
    const job = snapshotState(inDirectory('file'), (out) => {
      out.write(new Uint8Array(2 << 20))
      throw new Error('late')
    })
    expect(await rejectionOf(job.done)).toMatchObject({ code: 'ERR_STILLFRAME_CALLBACK' })
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('old')
    expect(readdirSync(inDirectory())).toEqual(['file'])
  })

  test('can do without being on disk', async () => {
    await snapshotState(inDirectory('file'), write, { durable: false }).done
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('new')
    expect(temporaryFilesIn(inDirectory())).toEqual([])
  })

  test('has one writer at a time', async () => {
    const first = snapshotState(inDirectory('file'), write)
    const second = () => snapshotState(inDirectory('file'), write)
    expect(thrownBy(second)).toMatchObject({ code: 'ERR_STILLFRAME_BUSY' })
    await first.done
    await second().done
  })
})
