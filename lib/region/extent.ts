/**
 * Locates the bytes of a buffer, view or WebAssembly memory.
 *
 * All properties are read with the built-in accessors, never from the object's own properties: the
 * accessors work on objects of other realms (vm contexts), and an object with a false length would
 * otherwise make native code read past its end.
 */

import { types } from 'node:util'
import { invalidArgValue } from '../base/errors.js'

/**
 * A `WebAssembly.Memory`, described by its shape so that the types of this package need no DOM
 * library. At run time only a genuine one is accepted.
 */
export interface WebAssemblyMemory {
  readonly buffer: ArrayBufferLike
  grow(delta: number): unknown
}

/** A range of bytes in a buffer. */
export interface Extent {
  readonly buffer: ArrayBufferLike
  /** Bytes from the start of `buffer`. */
  readonly byteOffset: number
  readonly byteLength: number
}

/**
 * Returns a function that reads this built-in accessor property from any object that has it, and
 * throws a TypeError for other objects.
 */
function accessor<T>(prototype: object, property: string): (object: object) => T {
  const get = Object.getOwnPropertyDescriptor(prototype, property)?.get
  if (get === undefined) throw new TypeError(`no built-in accessor '${property}'`)
  return (object) => Reflect.apply(get, object, []) as T
}

const typedArrayPrototype = Object.getPrototypeOf(Uint8Array.prototype) as object
const typedArray = {
  buffer: accessor<ArrayBufferLike>(typedArrayPrototype, 'buffer'),
  byteOffset: accessor<number>(typedArrayPrototype, 'byteOffset'),
  byteLength: accessor<number>(typedArrayPrototype, 'byteLength'),
}
const dataView = {
  buffer: accessor<ArrayBufferLike>(DataView.prototype, 'buffer'),
  byteOffset: accessor<number>(DataView.prototype, 'byteOffset'),
  byteLength: accessor<number>(DataView.prototype, 'byteLength'),
}
const arrayBuffer = {
  byteLength: accessor<number>(ArrayBuffer.prototype, 'byteLength'),
  resizable: accessor<boolean>(ArrayBuffer.prototype, 'resizable'),
}
const sharedArrayBuffer = {
  byteLength: accessor<number>(SharedArrayBuffer.prototype, 'byteLength'),
  growable: accessor<boolean>(SharedArrayBuffer.prototype, 'growable'),
}

type MemoryConstructor = { readonly prototype: object }
// Absent if WebAssembly is switched off (--jitless).
const { WebAssembly } = globalThis as { WebAssembly?: { Memory: MemoryConstructor } }
const memoryBuffer = WebAssembly && accessor<ArrayBufferLike>(WebAssembly.Memory.prototype, 'buffer')

/** The current buffer of a `WebAssembly.Memory`; undefined for anything else. */
export function bufferOfMemory(value: unknown): ArrayBufferLike | undefined {
  if (memoryBuffer === undefined || typeof value !== 'object' || value === null) return undefined
  try {
    return memoryBuffer(value)
  } catch {
    return undefined
  }
}

/** The buffer of a typed array or DataView, or the buffer itself; undefined for anything else. */
export function bufferOf(value: unknown): ArrayBufferLike | undefined {
  if (types.isAnyArrayBuffer(value)) return value
  if (types.isDataView(value)) return dataView.buffer(value)
  if (types.isTypedArray(value)) return typedArray.buffer(value)
  return undefined
}

/**
 * The bytes of an ArrayBuffer, SharedArrayBuffer, typed array or DataView; undefined for anything
 * else.
 *
 * @param name - name of the value in error messages.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` if the buffer is detached, or was shrunk so that the
 *   view is out of bounds.
 */
export function extentOf(value: unknown, name: string): Extent | undefined {
  if (types.isAnyArrayBuffer(value)) return extentOfBuffer(value, name)
  if (types.isDataView(value)) return extentOfDataView(value, name)
  if (types.isTypedArray(value)) return extentOfTypedArray(value, name)
  return undefined
}

/** The length of a buffer, in bytes; 0 when it is detached. */
export function byteLengthOf(buffer: ArrayBufferLike): number {
  return types.isSharedArrayBuffer(buffer)
    ? sharedArrayBuffer.byteLength(buffer)
    : arrayBuffer.byteLength(buffer)
}

/** True for buffers created with `maxByteLength`. */
export function isResizable(buffer: ArrayBufferLike): boolean {
  return types.isSharedArrayBuffer(buffer)
    ? sharedArrayBuffer.growable(buffer)
    : arrayBuffer.resizable(buffer)
}

/** True if the memory of a buffer has been transferred away. (`detached` came with Node 21.) */
export function isDetached(buffer: ArrayBufferLike): boolean {
  if (byteLengthOf(buffer) > 0) return false
  try {
    new Uint8Array(buffer)
    return false
  } catch {
    return true
  }
}

function extentOfBuffer(buffer: ArrayBufferLike, name: string): Extent {
  if (isDetached(buffer)) throw detached(name)
  return { buffer, byteOffset: 0, byteLength: byteLengthOf(buffer) }
}

function extentOfDataView(view: DataView, name: string): Extent {
  const buffer = dataView.buffer(view)
  if (isDetached(buffer)) throw detached(name)
  try {
    return { buffer, byteOffset: dataView.byteOffset(view), byteLength: dataView.byteLength(view) }
  } catch {
    throw outside(name)
  }
}

function extentOfTypedArray(view: NodeJS.TypedArray, name: string): Extent {
  const buffer = typedArray.buffer(view)
  if (isDetached(buffer)) throw detached(name)
  const byteLength = typedArray.byteLength(view)
  // An out-of-bounds view reports length 0, as an empty one does; creating an iterator tells the
  // two apart.
  if (byteLength === 0 && isOutOfBounds(view)) throw outside(name)
  return { buffer, byteOffset: typedArray.byteOffset(view), byteLength }
}

const keys = Object.getOwnPropertyDescriptor(typedArrayPrototype, 'keys')?.value as () => unknown

function isOutOfBounds(view: NodeJS.TypedArray): boolean {
  try {
    Reflect.apply(keys, view, [])
    return false
  } catch {
    return true
  }
}

function detached(name: string): TypeError {
  return invalidArgValue(`${name} is detached: its memory was transferred away or closed. Pass its new owner`)
}

function outside(name: string): TypeError {
  return invalidArgValue(`${name} is outside its buffer, which was shrunk. Make a new view`)
}
