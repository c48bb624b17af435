/**
 * A directory as an object store. The path of an object is its key; a name that contains `+` is not
 * an object:
 *
 *   data/17/a      the object 'data/17/a'
 *   +lock          locked for the moment in which an object is given its name, replaced or removed
 *   +tmp/<nonce>   a file that is being written, locked by its writer
 */

import { Buffer } from 'node:buffer'
import { createHash, randomUUID } from 'node:crypto'
import type { BigIntStats, Dirent, Stats } from 'node:fs'
import { constants } from 'node:fs'
import { type FileHandle, link, lstat, mkdir, open, readdir, realpath, rename, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { checkDirectory } from '../base/path.js'
import { fromFile, removeFile, syncDirectory, writeAll } from '../files/durable-file.js'
import { type LockKind, lockNow, tryLock } from '../files/file-lock.js'
import type { StoreRecipe } from './recipe.js'
import {
  type CheckedPut,
  checkGet,
  checkKey,
  checkPrefix,
  checkPut,
  checkSignalOnly,
  checkUpload,
  conditionFailed,
  type FetchedObject,
  type GetOptions,
  isKey,
  type ListedObject,
  notFound,
  type ObjectStore,
  type PutOptions,
  type StoredObject,
  type StoreOptions,
  storeFailure,
  type UploadOptions,
} from './store.js'
import { bytesOf } from './stream.js'

/**
 * An object store in a directory: on another disk, on a network filesystem, or for tests.
 *
 * Several processes may use it at once. The filesystem must support hard links, `flock()` and
 * `rename()`; if other machines use the directory too, these must work across all of them. Symbolic
 * links below the directory are not followed. Times are from the clock of the filesystem.
 *
 * The etag of an object of at most 1 MiB is derived from its content, that of a larger object from
 * its inode, size and time.
 *
 * @param path - a path or a `file:` URL. The directory is created on the first write, if its parent
 *   directory exists.
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`; Error `ERR_ACCESS_DENIED`
 *   (permission model).
 */
export function directoryStore(path: string | URL): ObjectStore {
  checkDirectory(path, 'read', 'path')
  return new DirectoryStore(checkDirectory(path, 'write', 'path'))
}

/**
 * Maximum size of objects whose etag is a hash of the content. Larger ones take too long to read
 * for it.
 */
const hashedBytes = 2 ** 20

/** Maximum bytes of a single read or write. */
const chunkBytes = 2 ** 24

/** The open file of an object, or of an object that is being written. */
interface OpenObject {
  readonly key: string
  readonly path: string
  readonly file: FileHandle
}

/** Time limit for getting the lock, in milliseconds. Its holder needs it only for a moment. */
const patienceMs = 30_000
const intervalMs = 2

/** @internal */
export class DirectoryStore implements ObjectStore {
  readonly #path: string
  /** The path without symbolic links, once the directory is ready for writes. */
  #ready: Promise<string> | undefined

  constructor(path: string) {
    this.#path = path
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ etag: string }> {
    checkKey(key)
    const how = checkPut(body, options)
    const { etag } = await this.#publish(key, [body], how)
    return { etag }
  }

  async upload(
    key: string,
    stream: AsyncIterable<Uint8Array>,
    options?: UploadOptions,
  ): Promise<{ etag: string; size: number }> {
    checkKey(key)
    const { size, signal } = checkUpload(stream, options)
    const how = { ifAbsent: false, ifMatch: undefined, signal }
    return await this.#publish(key, bytesOf(key, stream, { size, signal }), how)
  }

  recipe(): StoreRecipe {
    return { module: new URL('./waiting-directory.js', import.meta.url).href, data: this.#path }
  }

  async get(key: string, options?: GetOptions): Promise<FetchedObject> {
    checkKey(key)
    const { range, signal } = checkGet(options)
    throwIfAborted(signal)
    const object = await this.#open(key)
    if (object === undefined) throw notFound(key)
    try {
      const told = await describe(object)
      const [start, end] = range ?? [0, told.size]
      if (end > told.size) {
        throw storeFailure(key, `it has ${told.size} bytes, not the ${end} that were requested`)
      }
      return { ...told, body: await readRange(object, start, end, signal) }
    } finally {
      await object.file.close()
    }
  }

  async head(key: string, options?: StoreOptions): Promise<StoredObject | undefined> {
    checkKey(key)
    throwIfAborted(checkSignalOnly(options))
    const object = await this.#open(key)
    if (object === undefined) return undefined
    try {
      return await describe(object)
    } finally {
      await object.file.close()
    }
  }

  list(prefix: string, options?: StoreOptions): AsyncIterable<ListedObject> {
    checkPrefix(prefix)
    return this.#list('', prefix, checkSignalOnly(options))
  }

  async delete(key: string, options?: StoreOptions): Promise<void> {
    checkKey(key)
    const signal = checkSignalOnly(options)
    throwIfAborted(signal)
    const object = await this.#open(key)
    if (object === undefined) return
    await object.file.close()
    const root = await this.#makeReady()
    const path = join(root, key)
    let emptied = dirname(path)
    const lock = await this.#lock(root, 'exclusive', key, signal)
    try {
      await removeFile(path)
      while (emptied !== root && (await removeIfEmpty(emptied))) emptied = dirname(emptied)
    } finally {
      await lock.close()
    }
    await syncThere(emptied)
  }

  /** Returns undefined if there is no such object. */
  async #open(key: string): Promise<OpenObject | undefined> {
    const root = await realPath(this.#path)
    if (root === undefined) return undefined
    const path = join(root, key)
    const directory = await realPath(dirname(path))
    if (directory === undefined) return undefined
    if (directory !== dirname(path)) throw linked(key, dirname(path))
    let file: FileHandle
    try {
      file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    } catch (error) {
      if (isCode(error, 'ENOENT', 'ENOTDIR')) return undefined
      if (isCode(error, 'ELOOP')) throw linked(key, path)
      throw fromFile(error, path)
    }
    if (!(await isFile(path, file))) return undefined
    return { key, path, file }
  }

  /**
   * Writes and syncs a file under a temporary name that is not a key, and then gives it its name.
   */
  async #publish(
    key: string,
    chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    how: CheckedPut,
  ): Promise<{ etag: string; size: number }> {
    throwIfAborted(how.signal)
    const root = await this.#makeReady()
    const { file, path } = await openTemporary(root)
    try {
      let size = 0
      for await (const chunk of chunks) {
        for (let at = 0; at < chunk.length; at += chunkBytes) {
          throwIfAborted(how.signal)
          await onFile(path, writeAll(file, chunk.subarray(at, at + chunkBytes), size + at))
        }
        size += chunk.length
      }
      await onFile(path, file.sync())
      const { etag } = await describe({ key, path, file })
      throwIfAborted(how.signal)
      await this.#name(root, path, key, how)
      return { etag, size }
    } finally {
      // Remove the file before closing it releases its lock: an unlocked file counts as left by a
      // dead writer.
      await removeFile(path).catch(() => {})
      await file.close()
    }
  }

  async #name(root: string, temporary: string, key: string, how: CheckedPut): Promise<void> {
    const path = join(root, key)
    // The lock keeps empty directories from being removed; if exclusive, also objects from being
    // replaced.
    const lock = await this.#lock(root, how.ifAbsent ? 'shared' : 'exclusive', key, how.signal)
    let failure: unknown
    try {
      await makeDirectories(root, key)
      if (how.ifMatch !== undefined && (await this.head(key))?.etag !== how.ifMatch) {
        failure = conditionFailed(key, how)
      } else if (how.ifAbsent) {
        await link(temporary, path)
      } else {
        await rename(temporary, path)
      }
    } catch (error) {
      if (!how.ifAbsent || !isCode(error, 'EEXIST')) throw nameFailure(key, path, error)
      failure = conditionFailed(key, how, error)
    } finally {
      await lock.close()
    }
    // Also sync the name of an existing object: the process that put it may have died before doing
    // so.
    await syncNames(root, path)
    if (failure !== undefined) throw failure
  }

  /** Waits for the lock on the objects of the store. */
  async #lock(
    root: string,
    kind: LockKind,
    key: string,
    signal: AbortSignal | undefined,
  ): Promise<FileHandle> {
    const path = join(root, '+lock')
    const end = performance.now() + patienceMs
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
    const file = await onFile(path, open(path, flags, 0o600))
    try {
      while (!tryLock(file, path, kind)) {
        throwIfAborted(signal)
        if (performance.now() > end) {
          throw storeFailure(
            key,
            `${path} has been locked for ${patienceMs} ms. Find out what holds it, and what that process ` +
              'is waiting for',
          )
        }
        await setTimeout(intervalMs * (1 + Math.random()))
      }
      return file
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Creates the directory if needed, and removes files that dead writers have left. */
  async #makeReady(): Promise<string> {
    this.#ready ??= makeReady(this.#path)
    try {
      return await this.#ready
    } catch (error) {
      this.#ready = undefined
      throw fromFile(error, this.#path)
    }
  }

  /** @param directory - '', or the beginning of its keys, such as 'data/17/'. */
  async *#list(
    directory: string,
    prefix: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<ListedObject, void, undefined> {
    throwIfAborted(signal)
    const names = (await entriesOf(join(this.#path, directory)))
      // In key order, the contents of a directory are where its name with a slash is.
      .map((entry) => directory + entry.name + (entry.isDirectory() ? '/' : ''))
      .sort(byBytes)
    for (const name of names) {
      throwIfAborted(signal)
      if (!name.endsWith('/')) {
        if (name.startsWith(prefix) && isKey(name)) yield* this.#listed(name)
      } else if ((name.startsWith(prefix) || prefix.startsWith(name)) && isKey(name.slice(0, -1))) {
        yield* this.#list(name, prefix, signal)
      }
    }
  }

  /** Yields nothing if the object has been removed meanwhile. */
  async *#listed(key: string): AsyncGenerator<ListedObject, void, undefined> {
    const path = join(this.#path, key)
    let stats: Stats
    try {
      stats = await lstat(path)
    } catch (error) {
      if (isCode(error, 'ENOENT', 'ENOTDIR')) return
      throw fromFile(error, path)
    }
    if (stats.isFile()) yield { key, size: stats.size, lastModified: stats.mtime }
  }
}

async function makeReady(path: string): Promise<string> {
  await mkdir(path, { mode: 0o700 }).catch(ignore('EEXIST'))
  await syncDirectory(dirname(path))
  const root = await realpath(path)
  const temporaries = join(root, '+tmp')
  await mkdir(temporaries, { mode: 0o700 }).catch(ignore('EEXIST'))
  for (const name of await readdir(temporaries)) {
    const left = join(temporaries, name)
    const file = await lockNow(left, constants.O_RDWR, 'exclusive')
    if (typeof file === 'string') continue
    await removeFile(left)
    await file.close()
  }
  return root
}

/** Creates a file and locks it, so that it does not count as left by a dead writer. */
async function openTemporary(root: string): Promise<{ file: FileHandle; path: string }> {
  for (;;) {
    const path = join(root, '+tmp', randomUUID())
    const file = await onFile(
      path,
      open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600),
    )
    try {
      // Before it was locked, the file may have been removed as left by a dead writer.
      if (tryLock(file, path, 'exclusive') && (await onFile(path, file.stat())).nlink > 0)
        return { file, path }
    } catch (error) {
      await removeFile(path).catch(() => {})
      await file.close()
      throw error
    }
    await file.close()
  }
}

/** Creates the directories of a key, and checks that existing ones are directories. */
async function makeDirectories(root: string, key: string): Promise<void> {
  let directory = root
  for (const name of key.split('/').slice(0, -1)) {
    directory = join(directory, name)
    await mkdir(directory, { mode: 0o700 }).catch(async (error: unknown) => {
      if (!isCode(error, 'EEXIST')) throw error
      const stats = await lstat(directory)
      if (stats.isSymbolicLink()) throw linked(key, directory)
      if (!stats.isDirectory()) throw nameFailure(key, directory, error)
    })
  }
}

/**
 * Syncs the name of an object and of its directories, which other processes may just have created.
 */
async function syncNames(root: string, path: string): Promise<void> {
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    await syncThere(directory)
    if (directory === root) return
  }
}

/** A directory that has been removed meanwhile needs no sync. */
async function syncThere(directory: string): Promise<void> {
  await syncDirectory(directory).catch((error: { errnoName?: string }) => {
    if (error.errnoName !== 'ENOENT') throw error
  })
}

async function removeIfEmpty(directory: string): Promise<boolean> {
  try {
    await rmdir(directory)
    return true
  } catch (error) {
    if (isCode(error, 'ENOTEMPTY', 'EEXIST', 'ENOENT', 'EBUSY')) return false
    throw fromFile(error, directory)
  }
}

async function entriesOf(directory: string): Promise<Dirent[]> {
  try {
    return await readdir(directory, { withFileTypes: true })
  } catch (error) {
    if (isCode(error, 'ENOENT', 'ENOTDIR')) return []
    throw fromFile(error, directory)
  }
}

/** @throws StillframeError `ERR_STILLFRAME_IO` if the file is too short. */
async function readRange(
  { key, path, file }: OpenObject,
  start: number,
  end: number,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const body = Buffer.allocUnsafeSlow(end - start)
  for (let at = 0; at < body.length; ) {
    throwIfAborted(signal)
    const length = Math.min(body.length - at, chunkBytes)
    const { bytesRead } = await onFile(path, file.read(body, at, length, start + at))
    if (bytesRead === 0) throw storeFailure(key, `its file has been truncated to ${start + at} bytes`)
    at += bytesRead
  }
  return body
}

/** Returns the metadata of an object. */
async function describe(object: OpenObject): Promise<StoredObject> {
  const stats = await onFile(object.path, object.file.stat({ bigint: true }))
  const size = Number(stats.size)
  return { key: object.key, size, lastModified: stats.mtime, etag: await etagOf(object, stats) }
}

async function etagOf(object: OpenObject, { size, ino, mtimeNs }: BigIntStats): Promise<string> {
  if (size > hashedBytes) return [ino, mtimeNs, size].map((number) => number.toString(16)).join('-')
  const content = await readRange(object, 0, Number(size), undefined)
  return createHash('sha256').update(content).digest('hex').slice(0, 32)
}

/** Closes the file if it is not a regular file, or if that cannot be determined. */
async function isFile(path: string, file: FileHandle): Promise<boolean> {
  let is = false
  try {
    is = (await onFile(path, file.stat())).isFile()
  } finally {
    if (!is) await file.close()
  }
  return is
}

/** Returns undefined if the path does not exist. */
async function realPath(path: string): Promise<string | undefined> {
  try {
    return await realpath(path)
  } catch (error) {
    if (isCode(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw fromFile(error, path)
  }
}

function nameFailure(key: string, path: string, error: unknown): unknown {
  if (isCode(error, 'EEXIST', 'EISDIR', 'ENOTDIR', 'ENOTEMPTY')) {
    return storeFailure(
      key,
      `${path} is in the way. In a directory, no key can be another key followed by a slash and more`,
      error,
    )
  }
  return fromFile(error, path)
}

function linked(key: string, path: string): Error {
  return storeFailure(
    key,
    `${path} is a symbolic link, or is reached through one, and symbolic links are not followed`,
  )
}

/** Awaits a call on a file, and adds the path to its error. */
async function onFile<Value>(path: string, call: Promise<Value>): Promise<Value> {
  try {
    return await call
  } catch (error) {
    throw fromFile(error, path)
  }
}

function isCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? '')
}

function ignore(code: string): (error: unknown) => void {
  return (error) => {
    if (!isCode(error, code)) throw error
  }
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw signal.reason
}

/** Compares keys by their bytes: they are ASCII, so their characters are their bytes. */
function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
