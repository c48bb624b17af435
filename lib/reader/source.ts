/** Byte sources: files, blobs, and other objects that can be read at any offset. */

import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { constants as osConstants } from 'node:os'
import { types } from 'node:util'
import { invalidArgType, invalidArgValue } from '../base/errors.js'
import { checkPath } from '../base/path.js'
import { corrupt, ReadFailure, systemFailure } from './failure.js'

/**
 * Bytes that can be read at any offset, such as an object in a store that supports range requests.
 */
export interface RandomAccess {
  /** Size in bytes, an integer >= 0. */
  readonly size: number
  /**
   * Resolves to bytes from `offset` on: `length` bytes, or fewer but at least one. It is never
   * called for bytes past the end, and must not modify the bytes that it has returned.
   */
  read(offset: number, length: number): Promise<Uint8Array>
}

/** A `Blob` or `File` of Node, or a compatible object. */
export interface BlobLike {
  /** Size in bytes. */
  readonly size: number
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> }
}

/** Input for reading a snapshot: a path or `file:` URL, a blob, or an object with random access. */
export type SnapshotSource = string | URL | BlobLike | RandomAccess

/** An open source of bytes. */
export interface ByteSource {
  /** Absolute path; undefined if the source is not a file. */
  readonly path: string | undefined
  /** Name for messages. */
  readonly name: string
  readonly length: number
  /** Bytes that the source takes on disk, as far as that is known. */
  readonly allocatedBytes: number
  /** Fills `out` from `offset` on, or fails. `section` is the section being read, for the error. */
  read(out: Uint8Array, offset: number, section: string): Promise<void>
  close(): Promise<void>
}

/** A source that can be opened, more than once. */
export interface Opener {
  readonly path: string | undefined
  readonly name: string
  open(): Promise<ByteSource>
}

const expected = 'a string, a file: URL, a Blob, or an object with size and read(offset, length)'

/** @throws TypeError. */
export function checkSource(value: unknown, name: string): Opener {
  if (isRandomAccess(value)) return openerOf(name, value.size, (offset, length) => value.read(offset, length))
  if (isBlob(value)) {
    const read = async (offset: number, length: number): Promise<Uint8Array> =>
      new Uint8Array(await value.slice(offset, offset + length).arrayBuffer())
    return openerOf(name, value.size, read)
  }
  if (typeof value !== 'string' && !isUrl(value)) throw invalidArgType(name, expected, value)
  const path = checkPath(value, 'read', name)
  return { path, name: path, open: () => openFile(path) }
}

function openerOf(name: string, size: unknown, read: RandomAccess['read']): Opener {
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw invalidArgValue(`${name}.size must be an integer >= 0`)
  }
  return { path: undefined, name, open: async () => new ReadableSource(name, size, read) }
}

function isRandomAccess(value: unknown): value is RandomAccess {
  return typeof (value as Partial<RandomAccess> | null | undefined)?.read === 'function'
}

function isBlob(value: unknown): value is BlobLike {
  const { slice, size } = (value ?? {}) as Partial<BlobLike>
  return typeof value === 'object' && typeof slice === 'function' && typeof size === 'number'
}

function isUrl(value: unknown): boolean {
  return typeof (value as Partial<URL> | null | undefined)?.href === 'string'
}

/** Opens a file without waiting for another process, as opening a FIFO could. */
export async function openFile(path: string): Promise<ByteSource> {
  // Windows has neither O_NONBLOCK nor O_NOCTTY.
  const flags = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0)
  const handle = await open(path, flags).catch((error: unknown) => {
    throw systemFailure(error, 'cannot open the snapshot file')
  })
  try {
    const about = await handle.stat().catch((error: unknown) => {
      throw systemFailure(error, 'cannot examine the snapshot file')
    })
    if (about.isDirectory()) {
      const message = 'this is a directory, not a snapshot file'
      throw new ReadFailure('IO', message, {
        errno: osConstants.errno.EISDIR,
        errnoName: 'EISDIR',
        syscall: 'open',
      })
    }
    if (!about.isFile())
      throw new ReadFailure('FORMAT', 'this is not a regular file, so it is not a snapshot')
    return new FileSource(path, handle, about.size, about.blocks * 512)
  } catch (error) {
    await handle.close()
    throw error
  }
}

class FileSource implements ByteSource {
  readonly path: string
  readonly name: string
  readonly length: number
  readonly allocatedBytes: number
  readonly #handle: FileHandle

  constructor(path: string, handle: FileHandle, length: number, allocatedBytes: number) {
    this.path = path
    this.name = path
    this.#handle = handle
    this.length = length
    this.allocatedBytes = allocatedBytes
  }

  async read(out: Uint8Array, offset: number, section: string): Promise<void> {
    for (let done = 0; done < out.length; ) {
      const { bytesRead } = await this.#handle
        .read(out, done, out.length - done, offset + done)
        .catch((error: unknown) => {
          throw systemFailure(error, 'cannot read the snapshot file')
        })
      if (bytesRead === 0) throw corrupt(offset + done, section, 'the file ends here: it is truncated')
      done += bytesRead
    }
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}

class ReadableSource implements ByteSource {
  readonly path = undefined
  readonly name: string
  readonly length: number
  readonly #read: RandomAccess['read']

  constructor(name: string, length: number, read: RandomAccess['read']) {
    this.name = name
    this.length = length
    this.#read = read
  }

  /** Holes are not known for such a source. */
  get allocatedBytes(): number {
    return this.length
  }

  async read(out: Uint8Array, offset: number, section: string): Promise<void> {
    for (let done = 0; done < out.length; ) {
      const wanted = out.length - done
      if (offset + done + wanted > this.length) {
        throw corrupt(this.length, section, 'the file ends here: it is truncated')
      }
      const bytes = await this.#read(offset + done, wanted)
      if (!types.isUint8Array(bytes)) {
        throw invalidArgType(`what ${this.name}.read() resolves to`, 'a Uint8Array', bytes)
      }
      if (bytes.length > wanted) {
        throw invalidArgValue(
          `${this.name}.read() must resolve to at most ${wanted} bytes, not ${bytes.length}`,
        )
      }
      if (bytes.length === 0) throw corrupt(offset + done, section, 'the file ends here: it is truncated')
      out.set(bytes, done)
      done += bytes.length
    }
  }

  /** The source belongs to the caller. */
  async close(): Promise<void> {}
}
