/**
 * Promise: a capture survives whatever JavaScript does to its memory, and ends cleanly when its
 * Worker or the process ends. Proved by collecting, closing, moving and growing the sources in the
 * middle of captures, and by ending Workers and processes in every way and in every phase.
 */

import { readdirSync } from 'node:fs'
import { Region, type Source, snapshot, verify, type WebAssemblyMemory } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { dontForkOf } from '../support/dont-fork.mjs'
import { endAtManyMoments, endingTakesMs, waysToEnd } from '../support/ending-service.js'
import { thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { bigRegion, holdSnapshot, longEnoughBytes } from '../support/held-snapshot.mjs'
import { longMode } from '../support/long-mode.mjs'
import { resizableBuffer, wasmMemory } from '../support/memory-kinds.js'
import { fillPattern, hashOf } from '../support/pattern.mjs'
import { testSeed } from '../support/random.mjs'
import { hashesIn } from '../support/saved.mjs'
import { temporaryFilesIn, useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

describe('a capture outlives', () => {
  test('the last reference to it and to its sources', async () => {
    const fixture = startFixture(new URL('fixtures/dropped.mjs', import.meta.url), [inDirectory('file')], {
      nodeOptions: ['--expose-gc'],
    })
    const { hashes } = await fixture.report()
    expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
    expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
    expect(await hashesIn(inDirectory('file'))).toEqual(hashes)
  })

  test('the attempt to close its region, which is refused until the end', async () => {
    const region = bigRegion()
    const { taken, release } = holdSnapshot(region, inDirectory('file'))
    expect(thrownBy(() => region.close())).toMatchObject({ code: 'ERR_STILLFRAME_BUSY' })
    expect(region.buffer.byteLength).toBe(longEnoughBytes)
    release()
    await taken.done
    region.close()
    expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
  })

  test('the attempt to close its region, also when it fails', async () => {
    const region = bigRegion()
    const { taken } = holdSnapshot(region, inDirectory('file'))
    expect(thrownBy(() => region.close())).toMatchObject({ code: 'ERR_STILLFRAME_BUSY' })
    taken.abort()
    await expect(taken.done).rejects.toMatchObject({ name: 'AbortError' })
    region.close()
  })

  /** Events that can affect JavaScript memory between the call and the end. */
  const changes: Record<string, { source: () => Source; change: (source: never) => unknown }> = {
    'a transfer of its ArrayBuffer by structuredClone': {
      source: () => new ArrayBuffer(1 << 20),
      change: (source: ArrayBuffer) => structuredClone(source, { transfer: [source] }),
    },
    'a transfer of its ArrayBuffer through a port': {
      source: () => new ArrayBuffer(1 << 20),
      change: (source: ArrayBuffer) => {
        const { port1, port2 } = new MessageChannel()
        port1.postMessage(source, [source])
        port1.close()
        port2.close()
      },
    },
    'a resizable ArrayBuffer that shrinks to nothing': {
      source: () => resizableBuffer(1 << 20, 2 << 20),
      change: (source: { resize(byteLength: number): void }) => source.resize(0),
    },
    'a WebAssembly.Memory that grows': {
      source: () => wasmMemory(16, 64),
      change: (source: WebAssemblyMemory & { grow(pages: number): void }) => source.grow(32),
    },
    'a SharedArrayBuffer that is overwritten': {
      source: () => new SharedArrayBuffer(1 << 20),
      change: (source: SharedArrayBuffer) => new Uint8Array(source).fill(0xee),
    },
  }
  for (const [name, { source, change }] of Object.entries(changes)) {
    test(name, async () => {
      const changed = source()
      const bytes = new Uint8Array(
        'grow' in changed && 'buffer' in changed ? changed.buffer : (changed as ArrayBuffer),
      )
      const hash = hashOf(fillPattern(bytes, 7))
      const { taken, release } = holdSnapshot({ changed, filler: bigRegion() }, inDirectory('file'))
      change(changed as never)
      release()
      await taken.done
      expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
      expect(await hashesIn(inDirectory('file'))).toMatchObject({ changed: hash })
    })
  }

  test('a structuredClone of its region, which has the bytes of now', async () => {
    const region = bigRegion()
    const hash = hashOf(region.buffer)
    const { taken, release } = holdSnapshot(region, inDirectory('file'))
    new Uint8Array(region.buffer)[0] = 0
    const clone = structuredClone(region.buffer.slice(0, 10))
    expect(new Uint8Array(clone)[0]).toBe(0)
    release()
    await taken.done
    expect(await hashesIn(inDirectory('file'))).toEqual({ main: hash })
  })

  test('the attempt to transfer its region away', async () => {
    const region = bigRegion()
    const hash = hashOf(region.buffer)
    const { taken, release } = holdSnapshot(region, inDirectory('file'))
    try {
      structuredClone(region.buffer, { transfer: [region.buffer] })
    } catch (error) {
      expect(error).toMatchObject({ name: 'DataCloneError' })
    }
    release()
    await taken.done
    expect(await hashesIn(inDirectory('file'))).toEqual({ main: hash })
    region.close()
  })
})

describe('a Worker that ends in the middle of its capture', () => {
  const fixture = new URL('fixtures/worker-ends.mjs', import.meta.url)
  const ends: Record<string, { status: number; error?: string }> = {
    exit: { status: 3 },
    throw: { status: 1, error: 'of the Worker' },
    terminate: { status: 1 },
  }
  for (const disabled of ['', 'o_tmpfile']) {
    for (const [way, end] of Object.entries(ends)) {
      const how = disabled === '' ? '' : `, without ${disabled}`
      test(`takes its child and its file with it, and the main thread goes on: ${way}${how}`, async () => {
        const service = startFixture(fixture, [inDirectory('file'), way], {
          env: { STILLFRAME_DISABLE: disabled },
        })
        expect(await service.report()).toEqual({
          end,
          messages: [],
          childGone: true,
          published: false,
          names: ['file-before', 'file-warm'],
          children: [],
          left: {},
        })
        expect(await service.report()).toEqual({ ok: true })
        expect(await service.end).toEqual({ status: 0, signal: null, stderr: '' })
        expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
      })
    }
  }

  test('by returning waits for the end of its capture', async () => {
    const service = startFixture(fixture, [inDirectory('file'), 'return'])
    expect(await service.report()).toMatchObject({
      end: { status: 0 },
      messages: ['done'],
      published: true,
      children: [],
    })
    expect(await service.report()).toEqual({ ok: true })
    expect(await service.end).toEqual({ status: 0, signal: null, stderr: '' })
  })
})

test(
  'Workers may be terminated at any moment, also just as their captures end',
  async () => {
    const rounds = longMode ? 500 : 30
    const fixture = startFixture(new URL('fixtures/terminated-workers.mjs', import.meta.url), [
      inDirectory(),
      String(rounds),
      String(testSeed),
    ])
    const end = await fixture.end
    expect(end, `seed ${testSeed}`).toEqual({ status: 0, signal: null, stderr: '' })
    const { captured, children } = await fixture.report()
    expect(captured).toBeGreaterThanOrEqual(rounds)
    expect(children).toEqual([])
    expect(temporaryFilesIn(inDirectory())).toEqual([])
  },
  longMode ? 300_000 : undefined,
)

test('several Workers capture at once, memory of their own and memory that they share', async () => {
  const rounds = longMode ? 50 : 6
  const fixture = startFixture(new URL('fixtures/many-workers.mjs', import.meta.url), [
    inDirectory(),
    '4',
    String(rounds),
  ])
  const { exact, children, dontForkBefore, dontForkAfter } = await fixture.report()
  expect(exact).toEqual([rounds, rounds, rounds, rounds, rounds])
  expect(children).toEqual([])
  // V8 excludes its WebAssembly memories from children, and they must be excluded again afterwards.
  expect(dontForkBefore).toBe(true)
  expect(dontForkAfter).toBe(true)
  expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
  expect(readdirSync(inDirectory())).toHaveLength(5)
})

test('memory is kept from the children of the service again after each capture', async () => {
  const region = Region.allocate(1 << 20)
  const wasm = wasmMemory(1)
  fillPattern(region.buffer, 1)
  for (const source of [region, wasm, { region, wasm }]) {
    const taken = snapshot(source, inDirectory('file'))
    expect([dontForkOf(region.buffer), dontForkOf(wasm.buffer)]).toEqual([true, true])
    await taken.done
    expect([dontForkOf(region.buffer), dontForkOf(wasm.buffer)]).toEqual([true, true])
  }
})

describe('a process that ends while it captures', () => {
  for (const way of Object.keys(waysToEnd)) {
    for (const by of ['main thread', 'worker']) {
      test(
        `ends as without us, and its child with it: ${way}, captured by the ${by}`,
        async () => {
          await endAtManyMoments('snapshot', inDirectory('file'), way, by, 60, async (what) => {
            const names = readdirSync(inDirectory())
            if (names.includes('file'))
              expect(await verify(inDirectory('file')), what).toMatchObject({ ok: true })
            // Only an old file that had just been replaced can be left, until the next start.
            expect(names.filter((name) => name !== 'file').length, what).toBeLessThan(2)
          })
          await snapshot(new Uint8Array(10), inDirectory('file')).done
          expect(temporaryFilesIn(inDirectory())).toEqual([])
        },
        endingTakesMs,
      )
    }
  }
})
