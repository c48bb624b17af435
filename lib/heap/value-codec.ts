/**
 * Serializes one value. `lib/values/value-reader.ts` reads the bytes back and documents their
 * format.
 */

import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import type { HeapAddon, SerializedValue, SerializeRules } from '../addon/heap-addon.js'
import { maxPayloadBytes, sharedView, viewNames } from '../values/value-reader.js'

/**
 * Maximum nesting of containers. Measured with Node 20 to 26: the default stack (984 KiB) is enough
 * to read 1,480 levels of the worst kind, and to write twice as many.
 */
const maxDepth = 1000

const dataView = 9
const buffer = 10

type View = NodeJS.ArrayBufferView

const typedArray = Object.getPrototypeOf(Uint8Array.prototype) as object
const nameOfTypedArray = Object.getOwnPropertyDescriptor(typedArray, Symbol.toStringTag)?.get as () => string
const elementAt = Reflect.get(typedArray, 'at') as (index: number) => unknown

/**
 * Serializes a value.
 *
 * @returns the bytes, or a string with the reason for a refusal: the rest of a sentence that begins
 *   with "the value".
 * @throws any error that getters of the value throw.
 */
export function serializeValue(
  addon: HeapAddon,
  value: unknown,
  limit: number = maxPayloadBytes,
): Uint8Array | string {
  try {
    return serializeChecked(addon, value, limit)
  } catch (error) {
    // The error is V8's, and does not name the value. V8 throws it a little before the stack ends.
    if (!(error instanceof RangeError) || !/call stack/.test(error.message)) throw error
    return `is nested too deeply to be written: at most ${maxDepth} levels can be read reliably`
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
      `is nested ${result.depth} levels deep, and at most ${maxDepth} can be read reliably: the stack of ` +
      'the reader might be too small. Write it flat (a list as an array), or in parts'
    )
  }
  return new Uint8Array(result.payload)
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
 * True if the class of an object is defined inside Node, as for URL and Headers, whose state is not
 * in properties.
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

/** The views that one serialization encounters. */
class Views {
  /**
   * Number of views of each buffer. Views that are Node Buffers are not counted: the Buffers of a
   * pool are unrelated.
   */
  readonly #seen = new Map<ArrayBufferLike, number>()
  readonly #shared: ReadonlySet<ArrayBufferLike> | undefined
  readonly #copies = new Map<ArrayBufferLike, ArrayBuffer>()

  /**
   * @param shared - buffers to write whole, once for all of their views; undefined in the first
   *   pass, which finds them.
   */
  constructor(shared?: ReadonlySet<ArrayBufferLike>) {
    this.#shared = shared
  }

  /**
   * Returns the buffers that several views share, or that a view and the value itself may share.
   */
  shared(valueHasBuffers: boolean): Set<ArrayBufferLike> {
    const shared = [...this.#seen].filter(([, views]) => views > 1 || valueHasBuffers)
    return new Set(shared.map(([memory]) => memory))
  }

  /** Returns the number of the view's type, or the reason why the view cannot be written. */
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
    if (this.#shared === undefined) return new ArrayBuffer(0) // the second pass writes everything again
    if (!types.isSharedArrayBuffer(memory)) return memory as ArrayBuffer
    // A file cannot share memory with threads, but its views still share it among themselves.
    const copy = this.#copies.get(memory) ?? new Uint8Array(new Uint8Array(memory)).buffer
    this.#copies.set(memory, copy)
    return copy
  }
}

function typeNumber(view: View): number {
  if (types.isDataView(view)) return dataView
  return Buffer.isBuffer(view) ? buffer : viewNames.indexOf(nameOfTypedArray.call(view))
}

/** False if the buffer was detached or has become too short. */
function isWithinItsBuffer(view: View): boolean {
  try {
    if (types.isDataView(view)) void view.byteLength
    else elementAt.call(view, 0)
    return true
  } catch {
    return false
  }
}
