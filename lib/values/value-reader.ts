/**
 * Deserializes one value from the payload of a record: the output of V8's serializer, in which
 * views of ArrayBuffers have a format of their own:
 *
 *   view   = type length bytes                 shares its memory with nothing else in the value
 *          | type+32 offset length buffer      shares it; buffer is an ArrayBuffer in V8's format
 *
 * The first form is what `v8.serialize()` writes: only the bytes of the view, without the rest of
 * the pool that a Buffer is a part of, or of the array that a chunk is a part of.
 */

import type { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { DefaultDeserializer } from 'node:v8'

/**
 * Node reads and writes lengths and positions in a payload as 32 bits, and its CRC-32 accepts no
 * more.
 */
export const maxPayloadBytes = 2 ** 32 - 1

/** Added to the type number of a view that shares its memory. */
export const sharedView = 32
/** In the order of their type numbers, which are Node's up to 12. */
export const viewNames = [
  'Int8Array',
  'Uint8Array',
  'Uint8ClampedArray',
  'Int16Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'Float32Array',
  'Float64Array',
  'DataView',
  'Buffer',
  'BigInt64Array',
  'BigUint64Array',
  'Float16Array',
]

type View = NodeJS.ArrayBufferView
type ViewConstructor = new (buffer: ArrayBufferLike, offset: number, length: number) => View

/**
 * Captured at import; undefined for types that this Node lacks, such as Float16Array, a late
 * addition.
 */
const viewConstructors = new Map(
  viewNames.map((name) => [
    name,
    Reflect.get(globalThis, name === 'Buffer' ? 'Uint8Array' : name) as ViewConstructor | undefined,
  ]),
)

/** @throws Error for a payload that serializeValue() does not write. */
export function deserializeValue(payload: Buffer): unknown {
  const reader = new ValueReader(payload)
  reader.readHeader()
  return reader.readValue()
}

class ValueReader extends DefaultDeserializer {
  /** Called by V8 after its tag for host objects. */
  _readHostObject(): View {
    const type = this.readUint32()
    const name = viewNames[type % sharedView] ?? ''
    const of = viewConstructors.get(name)
    if (of === undefined || type >= 2 * sharedView) throw new Error(`unknown kind of view: ${type}`)
    return type < sharedView ? this.#alone(of, name) : this.#shared(of)
  }

  #alone(of: ViewConstructor, name: string): View {
    const length = this.readUint32()
    const bytes = this.readRawBytes(length)
    if (name === 'Buffer') return bytes
    const size = elementSize(of)
    // Elements begin at multiples of their size.
    const place = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes)
    return new of(place.buffer, place.byteOffset, elements(length, size))
  }

  #shared(of: ViewConstructor): View {
    const [offset, length] = [this.#uint53(), this.#uint53()]
    const memory: unknown = this.readValue()
    if (!types.isArrayBuffer(memory)) throw new Error('a view without a buffer')
    return new of(memory, offset, elements(length, elementSize(of)))
  }

  #uint53(): number {
    const [high, low] = this.readUint64()
    return high * 2 ** 32 + low
  }
}

function elementSize(of: ViewConstructor): number {
  return (of as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1
}

function elements(length: number, size: number): number {
  if (length % size !== 0) throw new Error(`a view of ${length} bytes with elements of ${size}`)
  return length / size
}
