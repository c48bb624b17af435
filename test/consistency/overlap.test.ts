// Promise I9: sources of one call that share bytes are each restored in full. Proved with the same
// memory given twice, and with views that are inside, across and next to each other, in both
// orders.

import { join } from 'node:path'
import { Region, type Source, snapshot } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { wasmMemory } from '../support/memory-kinds.js'
import { Random } from '../support/random.mjs'
import { differenceAfterRestore } from '../support/restored.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'overlap.snap')
const byteLength = 9 << 20

const owners: Readonly<Record<string, () => { source: Source; buffer: ArrayBufferLike }>> = {
  'a Region': () => {
    const source = Region.allocate(byteLength)
    return { source, buffer: source.buffer }
  },
  'an ArrayBuffer': () => {
    const buffer = new ArrayBuffer(byteLength)
    return { source: buffer, buffer }
  },
  'a WebAssembly.Memory': () => {
    const memory = wasmMemory(byteLength / 65536, 4096)
    return { source: memory as Source, buffer: memory.buffer }
  },
}

describe.each(Object.entries(owners))(
  'sources that share bytes are each saved in full: %s',
  (_name, make) => {
    async function expectWhole(
      choose: (owner: { source: Source; buffer: ArrayBufferLike }) => Record<string, Source>,
    ) {
      const owner = make()
      new Random(7).fill(new Uint8Array(owner.buffer))
      const sources = choose(owner)
      const expected = Object.fromEntries(
        Object.entries(sources).map(([name, source]) => {
          const view = ArrayBuffer.isView(source) ? source : undefined
          const { byteOffset, byteLength: length } = view ?? { byteOffset: 0, byteLength }
          return [name, new Uint8Array(owner.buffer, byteOffset, length).slice()]
        }),
      )
      await snapshot(sources, path, { durable: false }).done
      expect(await differenceAfterRestore(path, expected)).toBeUndefined()
    }

    it('given twice', () => expectWhole(({ source }) => ({ a: source, b: source })))

    it('as a whole and in part', () =>
      expectWhole(({ source, buffer }) => ({ a: source, b: new Uint8Array(buffer, 4096, 1 << 20) })))

    it('in part and as a whole', () =>
      expectWhole(({ source, buffer }) => ({ a: new Uint8Array(buffer, 100, 1 << 20), b: source })))

    it('as views across each other', () =>
      expectWhole(({ buffer }) => ({
        a: new Uint8Array(buffer, 0, 5 << 20),
        b: new Uint8Array(buffer, 4 << 20, 5 << 20),
        c: new Uint8Array(buffer, (4 << 20) - 3, 77_777),
      })))

    it('as neighbours that share a page but no byte', () =>
      expectWhole(({ buffer }) => ({
        a: new Uint8Array(buffer, 0, (1 << 20) + 100),
        b: new Uint8Array(buffer, (1 << 20) + 100, 3 << 20),
        c: new Uint8Array(buffer, (4 << 20) + 100),
      })))
  },
)
