/** One of each kind of memory that can be captured, with a view of its bytes for the test. */

import { Region, type Source } from 'stillframe'
import { growableBuffer, resizableBuffer, wasmMemory } from '../support/memory-kinds.js'

/** Memory under test. */
export interface Specimen {
  /** The argument for `snapshot()`. */
  readonly source: Source
  /** Exactly the bytes of the source, for writing and comparing. */
  readonly bytes: Uint8Array
  /** Releases the memory, if there is a way to. */
  close(): void
}

/** A way to make memory. */
export interface Kind {
  readonly name: string
  /** Sizes must be multiples of this. */
  readonly granularity: number
  make(byteLength: number, byteOffset: number): Specimen
}

const wasmPage = 65536
const open = (): void => {}

function ofRegion(name: string, hugePages: boolean): Kind {
  return {
    name,
    granularity: 1,
    make: (byteLength) => {
      const region = Region.allocate(byteLength, { hugePages })
      return { source: region, bytes: new Uint8Array(region.buffer), close: () => region.close() }
    },
  }
}

/**
 * A kind whose source is made from a buffer with `byteOffset` bytes before the source and some
 * after it.
 */
function ofView(
  name: string,
  allocate: (byteLength: number) => { buffer: ArrayBufferLike; close?: () => void },
  view: (buffer: ArrayBufferLike, byteOffset: number, byteLength: number) => ArrayBufferView,
  granularity = 1,
): Kind {
  return {
    name,
    granularity,
    make: (byteLength, byteOffset) => {
      const start = Math.ceil(byteOffset / granularity) * granularity
      const { buffer, close = open } = allocate(start + byteLength + 77)
      const bytes = new Uint8Array(buffer, start, byteLength)
      return { source: view(buffer, start, byteLength), bytes, close }
    },
  }
}

function ofMemory(
  name: string,
  shared: boolean,
  choose: (memory: { buffer: ArrayBufferLike }) => Source,
): Kind {
  return {
    name,
    granularity: wasmPage,
    make: (byteLength) => {
      const memory = wasmMemory(byteLength / wasmPage, 4096, shared)
      return { source: choose(memory), bytes: new Uint8Array(memory.buffer), close: open }
    },
  }
}

const arrayBuffer = (byteLength: number) => ({ buffer: new ArrayBuffer(byteLength) })
const uint8 = (buffer: ArrayBufferLike, byteOffset: number, byteLength: number) => {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** A kind whose source is a whole buffer. */
function ofBuffer(name: string, allocate: (byteLength: number) => ArrayBuffer | SharedArrayBuffer): Kind {
  return {
    name,
    granularity: 1,
    make: (byteLength) => {
      const buffer = allocate(byteLength)
      return { source: buffer, bytes: new Uint8Array(buffer), close: open }
    },
  }
}

/** All kinds of sources. */
export const kinds: readonly Kind[] = [
  ofRegion('a Region with huge pages', true),
  ofRegion('a Region without huge pages', false),
  ofBuffer('an ArrayBuffer', (byteLength) => new ArrayBuffer(byteLength)),
  ofBuffer('a resizable ArrayBuffer', (byteLength) => resizableBuffer(byteLength, byteLength * 2 + 5)),
  ofBuffer('a resized ArrayBuffer', (byteLength) => {
    const buffer = resizableBuffer(1, byteLength * 2 + 5)
    buffer.resize(byteLength)
    return buffer
  }),
  ofBuffer('a SharedArrayBuffer', (byteLength) => new SharedArrayBuffer(byteLength)),
  ofBuffer('a growable SharedArrayBuffer', (byteLength) => growableBuffer(byteLength, byteLength * 2 + 5)),
  ofView('a Uint8Array', arrayBuffer, uint8),
  ofView('a DataView', arrayBuffer, (...place) => new DataView(...(place as [ArrayBuffer, number, number]))),
  ofView('a Buffer', arrayBuffer, (...place) => Buffer.from(...(place as [ArrayBuffer, number, number]))),
  ofView(
    'a Float64Array',
    arrayBuffer,
    (buffer, byteOffset, byteLength) => new Float64Array(buffer, byteOffset, byteLength / 8),
    8,
  ),
  ofView('a view of a SharedArrayBuffer', (length) => ({ buffer: new SharedArrayBuffer(length) }), uint8),
  ofView(
    'a view of a resizable ArrayBuffer',
    (length) => ({ buffer: resizableBuffer(length, length * 2) }),
    uint8,
  ),
  ofView(
    'a view of a part of a Region',
    (byteLength) => {
      const region = Region.allocate(byteLength)
      return { buffer: region.buffer, close: () => region.close() }
    },
    uint8,
  ),
  ofView(
    'a view of a part of a WebAssembly.Memory',
    (byteLength) => wasmMemory(Math.ceil(byteLength / wasmPage), 4096),
    uint8,
  ),
  ofMemory('a WebAssembly.Memory', false, (memory) => memory as Source),
  ofMemory('the buffer of a WebAssembly.Memory', false, ({ buffer }) => buffer),
  ofMemory('a shared WebAssembly.Memory', true, (memory) => memory as Source),
  ofMemory('the buffer of a shared WebAssembly.Memory', true, ({ buffer }) => buffer),
]

/** The kind with that name. */
export function kindOf(name: string): Kind {
  const kind = kinds.find((candidate) => candidate.name === name)
  if (kind === undefined) throw new Error(`no kind of memory is called '${name}'`)
  return kind
}

/** The smallest size for memory of a kind that is at least `byteLength`. */
export function sizeFor(kind: Kind, byteLength: number): number {
  return Math.ceil(byteLength / kind.granularity) * kind.granularity
}
