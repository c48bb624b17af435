/**
 * One value from its bytes: the payload of a record. It is what V8's serializer makes, with
 * views of ArrayBuffers in between that are this file's:
 *
 *   view   = type length bytes                 one that nothing else in the value shares memory with
 *          | type+32 offset length buffer      one that something does; buffer is an ArrayBuffer, in V8's words
 *
 * The first is what `v8.serialize()` writes: a Buffer is cut out of the pool that it lies in, a
 * chunk out of its array.
 */

import type { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { DefaultDeserializer } from 'node:v8'

/**
 * Node writes and reads lengths and positions in a payload as 32 bits, and its CRC-32 takes no
 * more.
 */
export const maxPayloadBytes = 2 ** 32 - 1

/** Added to the number of a view that shares its memory. */
export const sharedView = 32
/** In the order of their numbers, which are Node's up to 12. */
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

/** As they were at import, and those that this Node has: Float16Array came late. */
const viewConstructors = new Map(
  viewNames.map((name) => [
    name,
    Reflect.get(globalThis, name === 'Buffer' ? 'Uint8Array' : name) as ViewConstructor | undefined,
  ]),
)

/** @throws Error for what serializeValue() does not write. */
export function deserializeValue(payload: Buffer): unknown {
  const reader = new ValueReader(payload)
  reader.readHeader()
  return reader.readValue()
}

class ValueReader extends DefaultDeserializer {
  /** Called by V8 after its tag for objects that are not its own. */
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
