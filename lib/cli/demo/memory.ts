/**
 * The demo's memory: seeded contents, copies and comparisons, all in windows that any version of
 * Node can address.
 */

import { Buffer } from 'node:buffer'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** Unit of the service's writes and of the demo's counts: the smallest page size of any machine. */
export const pageBytes = 4096
/** Contents vary in runs of this size, as tables and arenas do; one run in eight stays zero. */
const runBytes = 2 ** 21
/** Window of comparisons and copies: far below 4 GiB, the limit of typed arrays on Node 20. */
const windowBytes = 2 ** 24

/** A small generator of pseudo-random 32-bit numbers (Marsaglia's xorshift, shifts 13, 17, 5). */
export class Random {
  #state: number

  constructor(seed: number) {
    // From state 0 the generator would never leave it.
    this.#state = scramble(seed) || 1
  }

  /** The next number, 1 to 2^32 - 1. */
  next(): number {
    let state = this.#state
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    this.#state = state
    return state >>> 0
  }
}

/** Spreads the bits of a small number over 32, so that neighboring seeds give unrelated streams. */
function scramble(value: number): number {
  let bits = Math.imul(value ^ 0x9e3779b9, 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

/**
 * Fills a whole buffer from `seed`. One run in eight stays as the kernel provided it: all zero, and
 * untouched until the service happens to write to it. Real memory has such ranges, and a snapshot
 * must get them right, too.
 */
export async function fillSeeded(
  buffer: ArrayBuffer,
  seed: number,
  signal: AbortSignal,
  onProgress: (bytesDone: number) => void,
): Promise<void> {
  for (let offset = 0; offset < buffer.byteLength; offset += runBytes) {
    const length = Math.min(runBytes, buffer.byteLength - offset)
    const random = new Random(seed + offset / runBytes)
    if (random.next() % 8 !== 0) {
      const words = new Uint32Array(buffer, offset, Math.floor(length / 4))
      for (let index = 0; index < words.length; index++) words[index] = random.next()
    }
    onProgress(offset + length)
    await nextTurn()
    signal.throwIfAborted()
  }
}

/** Copies all of `from` to `to` at once, on this thread. */
export function copyAll(from: ArrayBuffer, to: ArrayBuffer): void {
  for (const { offset, length } of windowsOf(from)) {
    new Uint8Array(to, offset, length).set(new Uint8Array(from, offset, length))
  }
}

/** Copies all of `from` to `to`, yielding to the event loop between windows. */
export async function copyInTurns(
  from: ArrayBuffer,
  to: ArrayBuffer,
  signal: AbortSignal,
  onProgress: (bytesDone: number) => void,
): Promise<void> {
  for (const { offset, length } of windowsOf(from)) {
    new Uint8Array(to, offset, length).set(new Uint8Array(from, offset, length))
    onProgress(offset + length)
    await nextTurn()
    signal.throwIfAborted()
  }
}

/** Offset of the first byte that differs, or undefined if all bytes are equal. */
export async function firstDifference(
  one: ArrayBuffer,
  other: ArrayBuffer,
  signal: AbortSignal,
  onProgress: (bytesDone: number) => void,
): Promise<number | undefined> {
  if (one.byteLength !== other.byteLength) return Math.min(one.byteLength, other.byteLength)
  for (const { offset, length } of windowsOf(one)) {
    const a = new Uint8Array(one, offset, length)
    const b = new Uint8Array(other, offset, length)
    if (Buffer.compare(a, b) !== 0) return offset + a.findIndex((byte, index) => byte !== b[index])
    onProgress(offset + length)
    await nextTurn()
    signal.throwIfAborted()
  }
  return undefined
}

/** Splits a buffer of any size into windows. */
export function* windowsOf(buffer: ArrayBuffer): Generator<{ offset: number; length: number }> {
  for (let offset = 0; offset < buffer.byteLength; offset += windowBytes) {
    yield { offset, length: Math.min(windowBytes, buffer.byteLength - offset) }
  }
}
