/**
 * The method that needs no library: copy everything, then write the copy with node:fs. The copy
 * goes into a fresh region, which means huge pages: this is the fastest copy that Node can make,
 * and its memory can be freed immediately. `buffer.slice()` would pause longer.
 */

import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Region } from '../../index.js'
import { copyAll, windowsOf } from './memory.js'
import type { OnBytes, Reopened, Way } from './way.js'

/** Long enough for finalizers, far too short for a host to reclaim idle memory. */
const settleMs = 20

/**
 * The naive method for the memory of `region`.
 *
 * @param warm - memory of the same size, closed shortly before the copy is made. A virtual machine
 *   gets memory from its host at the first touch, and the copy should not pay for that. The kernel
 *   hands out next the pages that it gets back now.
 */
export function copyThenWrite(region: Region, warm: Region): Way {
  return {
    name: 'copy, then write',
    engine: undefined,
    async beforeCall() {
      warm.close()
      // The memory returns to the kernel with the buffer's finalizer, in a later turn of the event
      // loop.
      await sleep(settleMs)
    },
    save(path, signal, onProgress) {
      const copy = Region.allocate(region.byteLength, { name: 'copy' })
      copyAll(region.buffer, copy.buffer)
      return { done: writeOut(copy, path, signal, onProgress) }
    },
    reopenings: [{ name: 'read', open: readBack }],
  }
}

async function writeOut(
  copy: Region,
  path: string,
  signal: AbortSignal,
  onProgress: OnBytes,
): Promise<{ extraBytes: number; fileSize: number }> {
  try {
    const temporary = `${path}.part`
    const file = await open(temporary, 'wx', 0o600)
    try {
      for (const { offset, length } of windowsOf(copy.buffer)) {
        signal.throwIfAborted()
        await writeFully(file, new Uint8Array(copy.buffer, offset, length))
        onProgress(offset + length)
      }
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    return { extraBytes: copy.byteLength, fileSize: (await stat(path)).size }
  } finally {
    copy.close()
  }
}

async function writeFully(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    written += (await file.write(bytes, written)).bytesWritten
  }
}

async function readBack(path: string, signal: AbortSignal, onProgress: OnBytes): Promise<Reopened> {
  const file = await open(path)
  try {
    const memory = Region.allocate((await file.stat()).size, { name: 'read' })
    for (const { offset, length } of windowsOf(memory.buffer)) {
      signal.throwIfAborted()
      const window = new Uint8Array(memory.buffer, offset, length)
      for (let filled = 0; filled < length; ) {
        const { bytesRead } = await file.read(window, filled, length - filled)
        if (bytesRead === 0) throw new Error(`${path} ended early, at byte ${offset + filled}`)
        filled += bytesRead
      }
      onProgress(offset + length)
    }
    return { buffer: memory.buffer, close: () => memory.close() }
  } finally {
    await file.close()
  }
}
