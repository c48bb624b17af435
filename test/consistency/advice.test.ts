// Promise I7: after a capture, the kernel's advice on every mapping is as before: Regions and
// memory that V8 excludes from child processes are excluded again, and malloc's memory never is.
// Proved by reading the flag "dc" (MADV_DONTFORK) of /proc/self/smaps during and after captures
// that succeed, fail and are aborted.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Source, snapshot } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { addressOf, dontForkMarks } from '../support/dont-fork.mjs'
import { growableBuffer, resizableBuffer, wasmMemory } from '../support/memory-kinds.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { kindOf } from './sources.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'advice.snap')
// Large enough for malloc to give it mappings of its own, so that the marks of a neighbor cannot be
// mistaken for its own.
const byteLength = 5 << 20

interface Memory {
  source: Source
  bytes: Uint8Array
  keptOut: boolean
}

function whole(source: ArrayBuffer | SharedArrayBuffer, keptOut: boolean): Memory {
  return { source, bytes: new Uint8Array(source), keptOut }
}

const memories: Readonly<Record<string, () => Memory>> = {
  'a Region': () => ({ ...kindOf('a Region with huge pages').make(byteLength, 0), keptOut: true }),
  'a view of a part of a Region': () => ({
    ...kindOf('a view of a part of a Region').make(byteLength, 70_001),
    keptOut: true,
  }),
  'a WebAssembly.Memory': () => {
    const memory = wasmMemory(byteLength / 65536, 4096)
    return { source: memory as Source, bytes: new Uint8Array(memory.buffer), keptOut: true }
  },
  'the buffer of a WebAssembly.Memory': () => whole(wasmMemory(byteLength / 65536, 4096).buffer, true),
  'a view of a WebAssembly.Memory': () => {
    const bytes = new Uint8Array(wasmMemory(byteLength / 65536, 4096).buffer, 99_999, byteLength - 200_000)
    return { source: bytes, bytes, keptOut: true }
  },
  'a shared WebAssembly.Memory': () => {
    const memory = wasmMemory(byteLength / 65536, 4096, true)
    return { source: memory as Source, bytes: new Uint8Array(memory.buffer), keptOut: true }
  },
  'a resizable ArrayBuffer': () => whole(resizableBuffer(byteLength, 4 * byteLength), true),
  'a growable SharedArrayBuffer': () => whole(growableBuffer(byteLength, 4 * byteLength), true),
  'an ArrayBuffer': () => whole(new ArrayBuffer(byteLength), false),
  'a SharedArrayBuffer': () => whole(new SharedArrayBuffer(byteLength), false),
  'a Buffer': () => {
    const bytes = Buffer.alloc(byteLength)
    return { source: bytes, bytes, keptOut: false }
  },
}

describe.each(Object.entries(memories))('%s', (_name, make) => {
  const { source, bytes, keptOut } = make()
  const expected = [keptOut]
  let address = 0
  const marks = () => dontForkMarks(address, bytes.length)

  it(keptOut ? 'is kept out of child processes' : 'is not kept out of child processes', () => {
    bytes.fill(1)
    address = addressOf(bytes)
    expect(marks()).toEqual(expected)
  })

  it('is as before while a capture runs, and after it', async () => {
    const { done } = snapshot(source, path, { durable: false })
    expect(marks()).toEqual(expected)
    await done
    expect(marks()).toEqual(expected)
  })

  it('is as before after an abort', async () => {
    const running = snapshot(source, path, { durable: false })
    running.abort(new Error('enough'))
    expect(marks()).toEqual(expected)
    await running.done.catch(() => {})
    expect(marks()).toEqual(expected)
  })

  it('is as before after a capture that failed', () => {
    expect(() => snapshot(source, join(directory, 'no', 'such', 'directory'))).toThrow()
    expect(marks()).toEqual(expected)
  })

  it('is as before after two captures at once', async () => {
    const others = [0, 1].map((index) => snapshot(source, `${path}.${index}`, { durable: false }).done)
    await Promise.all(others)
    expect(marks()).toEqual(expected)
    expect(existsSync(`${path}.1`)).toBe(true)
  })
})
