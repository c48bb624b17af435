/**
 * One value as bytes and back: the payload of a record. It is what V8's serializer makes, with
 * views of ArrayBuffers in between that are this file's:
 *
 *   view   = type length bytes                 one that nothing else in the value shares memory with
 *          | type+32 offset length buffer      one that something does; buffer is an ArrayBuffer, in V8's words
 *
 * The first is what `v8.serialize()` writes: a Buffer is cut out of the pool that it lies in, a
 * chunk out of its array.
 */

import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import { DefaultDeserializer } from 'node:v8'
import type { HeapAddon, SerializedValue, SerializeRules } from '../addon/heap-addon.js'

/**
 * Node writes and reads lengths and positions in a payload as 32 bits, and its CRC-32 takes no
 * more.
 */
export const maxPayloadBytes = 2 ** 32 - 1
/**
 * Containers within one another. Measured with Node 20 to 26: the stack of a program (984 KiB) is
 * enough to read 1,480 of the worst kind, and to write twice as many.
 */
const maxDepth = 1000

const sharedView = 32
const dataView = 9
const buffer = 10
/** In the order of their numbers, which are Node's up to 12. */
const viewNames = [
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

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object
const nameOfTypedArray = Object.getOwnPropertyDescriptor(typedArray, Symbol.toStringTag)?.get as () => string
const elementAt = Reflect.get(typedArray, 'at') as (index: number) => unknown

/**
 * The value as bytes.
 *
 * @returns a string that says why not, as the rest of a sentence that begins with "the value".
 * @throws what getters of the value throw.
 */
export function serializeValue(
  addon: HeapAddon,
  value: unknown,
  limit: number = maxPayloadBytes,
): Uint8Array | string {
  try {
    return serializeChecked(addon, value, limit)
  } catch (error) {
    // The error is V8's, which does not say what it is about. V8 stops a little before the stack
    // ends.
    if (!(error instanceof RangeError) || !/call stack/.test(error.message)) throw error
    return `is nested too deeply to be written: no more than ${maxDepth} levels can be read with certainty`
  }
}

function serializeChecked(addon: HeapAddon, value: unknown, limit: number): Uint8Array | string {
  const alone = new Views()
  const written = serializeWith(addon, value, alone, limit)
  if (typeof written === 'string') return written
  const shared = alone.shared(written.hasArrayBuffers)
  const result = shared.size === 0 ? written : serializeWith(addon, value, new Views(shared), limit)
  if (typeof result === 'string') return result
  if (result.depth > maxDepth) {
    return (
      `is nested ${result.depth} deep, and no more than ${maxDepth} can be read with certainty: the stack of the ` +
      'reader might be too small. Write it flat (a list as an array), or in parts'
    )
  }
  return new Uint8Array(result.payload)
}

/** @throws Error for what serializeValue() does not write. */
export function deserializeValue(payload: Buffer): unknown {
  const reader = new ValueReader(payload)
  reader.readHeader()
  return reader.readValue()
}

function serializeWith(
  addon: HeapAddon,
  value: unknown,
  views: Views,
  limit: number,
): SerializedValue | string {
  const rules: SerializeRules = {
    hasNoState: (object) => Object.keys(object).length === 0 && isOfNode(addon, object),
    typeOfView: (view) => views.typeOf(view),
    bufferOf: (view) => views.bufferOf(view),
  }
  return addon.serializeValue(value, rules, limit)
}

const ofNode = new WeakMap<object, boolean>()

/**
 * Whether the class of an object is inside Node, as URL and Headers are: their state is not in
 * properties.
 */
function isOfNode(addon: HeapAddon, object: object): boolean {
  const prototype = Object.getPrototypeOf(object) as object | null
  if (prototype === null) return false
  const known = ofNode.get(prototype)
  if (known !== undefined) return known
  const own: unknown = Object.getOwnPropertyDescriptor(prototype, 'constructor')?.value
  const script = typeof own === 'function' ? addon.scriptOf(own) : undefined
  const answer = script?.startsWith('node:internal/') === true || isOfNode(addon, prototype)
  ofNode.set(prototype, answer)
  return answer
}

/** The views that one serialization comes across. */
class Views {
  /**
   * How many views have this buffer. Buffers do not count: those of a pool have nothing to do with
   * one another.
   */
  readonly #seen = new Map<ArrayBufferLike, number>()
  readonly #shared: ReadonlySet<ArrayBufferLike> | undefined
  readonly #copies = new Map<ArrayBufferLike, ArrayBuffer>()

  /**
   * @param shared - buffers that are written whole, once, for all of their views; undefined to find
   *   out which these are.
   */
  constructor(shared?: ReadonlySet<ArrayBufferLike>) {
    this.#shared = shared
  }

  /** Buffers that more than one view has, or perhaps a view and the value itself. */
  shared(valueHasBuffers: boolean): Set<ArrayBufferLike> {
    const shared = [...this.#seen].filter(([, views]) => views > 1 || valueHasBuffers)
    return new Set(shared.map(([memory]) => memory))
  }

  /** The number of its type, or why it cannot be written. */
  typeOf(view: View): number | string {
    const type = typeNumber(view)
    if (type < 0 || !isWithinItsBuffer(view)) {
      return `cannot be cloned: it holds a ${types.isDataView(view) ? 'DataView' : 'typed array'} whose memory is gone`
    }
    if (type === buffer) return type
    const before = this.#seen.get(view.buffer) ?? 0
    this.#seen.set(view.buffer, before + 1)
    if (this.#shared === undefined ? before === 0 : !this.#shared.has(view.buffer)) return type
    if ((view.buffer as { resizable?: boolean }).resizable === true) {
      return 'cannot be cloned: it holds views that share a resizable ArrayBuffer. Write copies of them: slice()'
    }
    return type + sharedView
  }

  bufferOf({ buffer: memory }: View): ArrayBuffer {
    if (this.#shared === undefined) return new ArrayBuffer(0) // all of it will be written again
    if (!types.isSharedArrayBuffer(memory)) return memory as ArrayBuffer
    // A file shares no memory with threads, but its views still share it with one another.
    const copy = this.#copies.get(memory) ?? new Uint8Array(new Uint8Array(memory)).buffer
    this.#copies.set(memory, copy)
    return copy
  }
}

function typeNumber(view: View): number {
  if (types.isDataView(view)) return dataView
  return Buffer.isBuffer(view) ? buffer : viewNames.indexOf(nameOfTypedArray.call(view))
}

/** False if the buffer was detached, or has become too short. */
function isWithinItsBuffer(view: View): boolean {
  try {
    if (types.isDataView(view)) void view.byteLength
    else elementAt.call(view, 0)
    return true
  } catch {
    return false
  }
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
