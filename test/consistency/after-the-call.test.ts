// Promise I1: after the call has returned, nothing that happens to the memory reaches the file: not
// only writes, but also transfer, resizing, growth and collection. Proved by doing each to memory
// while its forked copy is held.

import { join } from 'node:path'
import { Region, restore, type Source, snapshot } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { detach, growableBuffer, resizableBuffer, wasmMemory } from '../support/memory-kinds.js'
import { Random } from '../support/random.mjs'
import { differenceAfterRestore } from '../support/restored.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { hold } from './forked-copy.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'after.snap')
const byteLength = 9 << 20

interface Story {
  source: Source
  bytes: Uint8Array
  /** Changes the memory after the call. */
  meddle(): void
}

/**
 * Moves memory to a new buffer. From Node 22 on, only `transfer()` does this for the buffer of a
 * Region.
 */
function transferred(buffer: ArrayBuffer & { transfer?: () => ArrayBuffer }): ArrayBuffer {
  return buffer.transfer?.() ?? structuredClone(buffer, { transfer: [buffer] })
}

/** Makes other buffers reuse memory that was released. */
function reuseMemory(): void {
  for (let i = 0; i < 8; i++) new Uint8Array(new ArrayBuffer(byteLength)).fill(0x99)
}

const stories: Readonly<Record<string, () => Story>> = {
  'a Region is written all over': () => {
    const source = Region.allocate(byteLength)
    const bytes = new Uint8Array(source.buffer)
    return { source, bytes, meddle: () => bytes.fill(0x11) }
  },
  'the buffer of a Region is transferred and written': () => {
    const source = Region.allocate(byteLength)
    const { buffer } = source
    const meddle = () => new Uint8Array(transferred(buffer)).fill(0x22)
    return { source, bytes: new Uint8Array(buffer), meddle }
  },
  'an ArrayBuffer is transferred and written': () => {
    const source = new ArrayBuffer(byteLength)
    const meddle = () => new Uint8Array(transferred(source)).fill(0x22)
    return { source, bytes: new Uint8Array(source), meddle }
  },
  'an ArrayBuffer is detached and its memory used for others': () => {
    const source = new ArrayBuffer(byteLength)
    const meddle = () => {
      detach(source)
      reuseMemory()
    }
    return { source, bytes: new Uint8Array(source), meddle }
  },
  'a resizable ArrayBuffer shrinks to nothing': () => {
    const source = resizableBuffer(byteLength, 2 * byteLength)
    return { source, bytes: new Uint8Array(source), meddle: () => source.resize(0) }
  },
  'a resizable ArrayBuffer grows': () => {
    const source = resizableBuffer(byteLength, 2 * byteLength)
    const meddle = () => {
      source.resize(2 * byteLength)
      new Uint8Array(source).fill(0x33)
    }
    return { source, bytes: new Uint8Array(source), meddle }
  },
  'a growable SharedArrayBuffer grows': () => {
    const source = growableBuffer(byteLength, 2 * byteLength) as SharedArrayBuffer & {
      grow(to: number): void
    }
    const meddle = () => {
      source.grow(2 * byteLength)
      new Uint8Array(source).fill(0x44)
    }
    return { source, bytes: new Uint8Array(source), meddle }
  },
  'a WebAssembly.Memory grows': () => {
    const memory = wasmMemory(byteLength / 65536, 4096)
    const meddle = () => {
      memory.grow(100)
      new Uint8Array(memory.buffer).fill(0x55)
    }
    return { source: memory as Source, bytes: new Uint8Array(memory.buffer), meddle }
  },
  'a shared WebAssembly.Memory grows': () => {
    const memory = wasmMemory(byteLength / 65536, 4096, true)
    const meddle = () => {
      memory.grow(100)
      new Uint8Array(memory.buffer).fill(0x66)
    }
    return { source: memory as Source, bytes: new Uint8Array(memory.buffer), meddle }
  },
}

describe('the file holds the memory of the call', () => {
  it.each(Object.entries(stories))('when %s afterwards', async (_name, make) => {
    const { source, bytes, meddle } = make()
    new Random(3).fill(bytes)
    const expected = new Uint8Array(bytes)
    const running = hold(() => snapshot(source, path, { durable: false }))
    try {
      meddle()
    } finally {
      running.release()
    }
    await running.value.done
    expect(await differenceAfterRestore(path, { main: expected })).toBeUndefined()
  })

  it('when an older snapshot is restored into the memory afterwards', async () => {
    using region = Region.allocate(byteLength)
    const bytes = new Uint8Array(region.buffer)
    const older = join(directory, 'older.snap')
    await snapshot(bytes.fill(1), older, { durable: false }).done
    const expected = new Uint8Array(bytes.fill(2))
    const running = hold(() => snapshot(region, path, { durable: false }))
    try {
      await restore(older, { into: { main: region } })
    } finally {
      running.release()
    }
    await running.value.done
    expect(bytes[byteLength - 1]).toBe(1)
    expect(await differenceAfterRestore(path, { main: expected })).toBeUndefined()
  })
})
