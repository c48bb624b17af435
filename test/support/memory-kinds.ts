/** Kinds of memory for which TypeScript's es2023 library has no types. */

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { WebAssemblyMemory } from '../../lib/index.js'

interface WebAssemblyNamespace {
  Memory: new (options: { initial: number; maximum?: number; shared?: boolean }) => WebAssemblyMemory
}

/** A WebAssembly memory; sizes are in pages of 64 KiB. */
export function wasmMemory(initial: number, maximum = 16, shared = false): WebAssemblyMemory {
  const { WebAssembly } = globalThis as unknown as { WebAssembly: WebAssemblyNamespace }
  return new WebAssembly.Memory({ initial, maximum, shared })
}

type Resizable = { resize(byteLength: number): void }

/** An ArrayBuffer that can be resized in place. */
export function resizableBuffer(byteLength: number, maxByteLength: number): ArrayBuffer & Resizable {
  const Constructor = ArrayBuffer as unknown as new (
    byteLength: number,
    options: { maxByteLength: number },
  ) => ArrayBuffer & Resizable
  return new Constructor(byteLength, { maxByteLength })
}

/** A SharedArrayBuffer that can be grown in place. */
export function growableBuffer(byteLength: number, maxByteLength: number): SharedArrayBuffer {
  const Constructor = SharedArrayBuffer as unknown as new (
    byteLength: number,
    options: { maxByteLength: number },
  ) => SharedArrayBuffer
  return new Constructor(byteLength, { maxByteLength })
}

/**
 * Moves the memory of any buffer with ArrayBuffer.prototype.transfer(), which is behind a flag on
 * Node 20.
 */
export function transferred(buffer: ArrayBuffer): ArrayBuffer {
  if (!('transfer' in ArrayBuffer.prototype)) setFlagsFromString('--harmony-rab-gsab-transfer')
  const transfer = runInNewContext('ArrayBuffer.prototype.transfer') as (this: ArrayBuffer) => ArrayBuffer
  return transfer.call(buffer)
}

/** Detaches a buffer by transferring its memory away. */
export function detach(buffer: ArrayBuffer): void {
  structuredClone(buffer, { transfer: [buffer] })
}
