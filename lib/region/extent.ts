/**
 * Where the bytes of a buffer, view or WebAssembly memory are.
 *
 * Everything is asked of the built-in accessors, never of the object's own properties: they work on
 * objects of other realms (vm contexts), and an object that lies about its length would otherwise
 * have native code read past its end.
 */

import { types } from 'node:util'
import { invalidArgValue } from '../base/errors.js'

/**
 * A `WebAssembly.Memory`, described by its shape, so that the types of this package need no DOM
 * library. At run time only a real one is accepted.
 */
export interface WebAssemblyMemory {
  readonly buffer: ArrayBufferLike
  grow(delta: number): unknown
}

/** Some bytes of a buffer. */
export interface Extent {
  readonly buffer: ArrayBufferLike
  /** Bytes from the start of `buffer`. */
  readonly byteOffset: number
  readonly byteLength: number
}

/**
 * Reads one built-in accessor property of any object that has it; throws a TypeError for others.
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

/** The present buffer of a `WebAssembly.Memory`; undefined for anything else. */
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
 * @param name - what an error calls the value.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` if the buffer is detached, or was shrunk so that the
 *   view lies outside it.
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

/** True for buffers that were made with `maxByteLength`. */
export function isResizable(buffer: ArrayBufferLike): boolean {
  return types.isSharedArrayBuffer(buffer)
    ? sharedArrayBuffer.growable(buffer)
    : arrayBuffer.resizable(buffer)
}

/** True when the memory of a buffer has been transferred away. (`detached` came with Node 21.) */
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
  // The length of an out-of-bounds view reads as 0, like that of an empty one; making an iterator
  // tells the two apart.
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
  return invalidArgValue(`${name} lies outside of its buffer, which was shrunk. Make a new view`)
}
