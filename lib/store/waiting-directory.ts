/**
 * A directory store that reads without the threads of libuv's pool, which may all be waiting for
 * pages that are to be read here.
 */

import { Buffer } from 'node:buffer'
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { DirectoryStore } from './directory-store.js'
import { checkGet, checkKey, type FetchedObject, type GetOptions, notFound, storeFailure } from './store.js'

class WaitingDirectory extends DirectoryStore {
  readonly #root: string

  constructor(path: string) {
    super(path)
    this.#root = path
  }

  override async get(key: string, options?: GetOptions): Promise<FetchedObject> {
    checkKey(key)
    const { range, signal } = checkGet(options)
    signal?.throwIfAborted()
    try {
      return readNow(join(this.#root, key), key, range)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw notFound(key, error)
      throw storeFailure(key, 'it cannot be read. Check the directory of the store', error)
    }
  }
}

function readNow(path: string, key: string, range: readonly [number, number] | undefined): FetchedObject {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const { ino, size, mtimeMs, mtime } = fstatSync(fd)
    const [start, end] = range ?? [0, size]
    const body = Buffer.allocUnsafeSlow(end - start)
    for (let done = 0; done < body.length; ) {
      const count = readSync(fd, body, done, body.length - done, start + done)
      if (count === 0) throw new Error(`it has ${size} bytes, not the ${end} that were requested`)
      done += count
    }
    return { key, size, etag: `${ino}-${size}-${mtimeMs}`, lastModified: mtime, body }
  } finally {
    closeSync(fd)
  }
}

/** Opens the store described by `recipe()`. */
export function openStore(path: string): DirectoryStore {
  return new WaitingDirectory(path)
}
