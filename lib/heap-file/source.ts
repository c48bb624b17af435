/** The input file. It is read once from beginning to end, and then again at a few places. */

import { Buffer } from 'node:buffer'
import { type FileHandle, open } from 'node:fs/promises'
import type { Part } from './bytes.js'
import { Malformed, NotAHeapSnapshot } from './malformed.js'

/** Large enough to make reads cheap, small enough to react to Ctrl-C. */
const chunkBytes = 4 << 20
const sliceBytes = 1 << 14

/** Magic numbers of other kinds of files. */
const otherFiles: readonly (readonly [magic: string, what: string])[] = [
  ['\x89SFRAM\r\n', "it is a snapshot of memory; 'stillframe inspect' reads those"],
  ['SFV1', "it is a file of values (snapshotState); 'stillframe inspect' and readValues() read those"],
  ['\x1f\x8b', 'it is compressed; unpack it first (gunzip)'],
  ['\x28\xb5\x2f\xfd', 'it is compressed; unpack it first (zstd -d)'],
]

export class Source {
  readonly size: number
  readonly #file: FileHandle

  private constructor(file: FileHandle, size: number) {
    this.#file = file
    this.size = size
  }

  /** @throws NotAHeapSnapshot, and errors of the file system. */
  static async open(path: string): Promise<Source> {
    const file = await open(path)
    try {
      const stat = await file.stat()
      if (stat.isDirectory()) throw new NotAHeapSnapshot('it is a directory')
      if (!stat.isFile())
        throw new NotAHeapSnapshot('it is not a regular file, and only such files can be read at any offset')
      const source = new Source(file, stat.size)
      await source.#refuseOthers()
      return source
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async #refuseOthers(): Promise<void> {
    if (this.size === 0) {
      throw new NotAHeapSnapshot(
        'it is empty: Node was terminated before it had written anything, as often happens with ' +
          '--heapsnapshot-near-heap-limit. Give the process more memory in addition to its heap, or take ' +
          'the snapshot earlier',
      )
    }
    const { buffer, bytesRead } = await this.#file.read(Buffer.alloc(8), 0, 8, 0)
    const beginning = buffer.subarray(0, bytesRead).toString('latin1')
    const other = otherFiles.find(([magic]) => beginning.startsWith(magic))
    if (other !== undefined) throw new NotAHeapSnapshot(other[1])
  }

  /**
   * Passes each chunk to `take` in order, while the next one is being read.
   *
   * @returns the offset of the end of the file.
   */
  async readAll(take: (bytes: Uint8Array, offset: number) => void | Promise<void>): Promise<number> {
    let [current, other] = [Buffer.allocUnsafe(chunkBytes), Buffer.allocUnsafe(chunkBytes)]
    let offset = 0
    let reading = this.#file.read(current, 0, chunkBytes, 0)
    for (;;) {
      const { bytesRead } = await reading
      if (bytesRead === 0) return offset
      reading = this.#file.read(other, 0, chunkBytes, offset + bytesRead)
      // If `take` fails, nothing awaits this read; its failure must not become an unhandled
      // rejection.
      reading.catch(() => {})
      try {
        await take(current.subarray(0, bytesRead), offset)
      } catch (error) {
        await reading.catch(() => {})
        throw error
      }
      offset += bytesRead
      ;[current, other] = [other, current]
    }
  }

  /** Passes the bytes from `offset` on to `part` until `enough` returns true. */
  async readFrom(offset: number, part: Part, enough: () => boolean): Promise<void> {
    const bytes = Buffer.allocUnsafe(sliceBytes)
    for (let at = offset; !enough() && !part.done; ) {
      const { bytesRead } = await this.#file.read(bytes, 0, sliceBytes, at)
      if (bytesRead === 0) throw new Malformed('the file was truncated while it was being read', at)
      part.scan(bytes.subarray(0, bytesRead), 0, at)
      at += bytesRead
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}
