/**
 * Where frames can be kept beside the local disk: six operations, which every object storage has. The interface, what
 * its errors mean, and which keys there are.
 */

import { invalidArgType, invalidArgValue, outOfRange, StillframeError } from '../base/errors.js'
import { checkInteger, checkOptions, checkSignal } from '../base/validate.js'
import type { StoreRecipe } from './recipe.js'

/** What a store tells of an object. */
export interface StoredObject {
  readonly key: string
  /** Bytes of the whole object. */
  readonly size: number
  /** Changes whenever the content does. Without quotes. */
  readonly etag: string
  /** When it was put, by the clock of the store. */
  readonly lastModified: Date
}

/** The same, as lists have it. */
export type ListedObject = Omit<StoredObject, 'etag'>

/** What {@link ObjectStore.get} answers. */
export interface FetchedObject extends StoredObject {
  /** The whole object, or the range that was asked for: never less. */
  readonly body: Uint8Array
}

/** Options of all operations. */
export interface StoreOptions {
  /** Ends the operation; the promise is rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Options of {@link ObjectStore.put}: at most one of the two conditions. */
export interface PutOptions extends StoreOptions {
  /** True: only if there is no object of this key. */
  readonly ifAbsent?: boolean | undefined
  /** Only if there is an object of this key, and this is its `etag`. */
  readonly ifMatch?: string | undefined
}

/** Options of {@link ObjectStore.get}. */
export interface GetOptions extends StoreOptions {
  /**
   * Bytes from `start` up to `end`, which is not part of it; not empty. The object must have all of them.
   */
  readonly range?: readonly [start: number, end: number] | undefined
}

/** Options of {@link ObjectStore.upload}. */
export interface UploadOptions extends StoreOptions {
  /**
   * Bytes that the stream has, if that is known. A store may use it to choose the size of parts; a stream of another
   * length is an error, and nothing is stored.
   */
  readonly size?: number | undefined
}

/**
 * Objects under keys. `directoryStore()` and `stillframe/s3` make one; an object of your own with these six methods
 * is one too.
 *
 * **Keys** have letters, digits, `.`, `_`, `-` and `/`, at most 512 in all and 200 between two slashes. None begins or
 * ends with a slash, and nothing between slashes is empty, `.` or `..`. A store may refuse a key that goes on with a
 * slash where another one ends (`a` and `a/b`).
 *
 * **An object is there whole or not at all**: whoever reads sees what one call has put, also after a crash. When the
 * promise of `put` or `upload` is fulfilled, the object is durable, and every later `get`, `head` and `put` sees it. A
 * list may lag behind.
 *
 * **Errors** are StillframeErrors:
 *
 * - `ERR_STILLFRAME_NOT_FOUND`: `get` of what is not there.
 * - `ERR_STILLFRAME_EXISTS`: the condition of a `put` does not hold. It may also mean that this very `put` has
 *   succeeded, where a reply was lost and the request made again: put something unique into the body, and read it back.
 * - `ERR_STILLFRAME_UNSUPPORTED_STORE`: the store lacks what is asked of it.
 * - `ERR_STILLFRAME_IO`, or a code that says it better (`ERR_STILLFRAME_NO_SPACE`): everything else, after what may be
 *   tried again has been. `cause` is what the store said. It is then not known whether a `put`, an `upload` or a
 *   `delete` has taken place, or will yet.
 * - The reason of the signal, as it is. What holds of `ERR_STILLFRAME_IO` holds of it too.
 */
export interface ObjectStore {
  /** Makes or replaces a small object. It takes the bytes as they are at the call until the promise is settled: do not change them. */
  put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ etag: string }>
  /** Reads an object, or a range of it. */
  get(key: string, options?: GetOptions): Promise<FetchedObject>
  /** Undefined if there is none. */
  head(key: string, options?: StoreOptions): Promise<StoredObject | undefined>
  /**
   * All objects whose keys begin with `prefix`, which may be empty, in the order of keys (of their bytes). It need not
   * be one instant: what is put or deleted meanwhile may be there or not.
   */
  list(prefix: string, options?: StoreOptions): AsyncIterable<ListedObject>
  /** Removes an object. It is no error if there is none. */
  delete(key: string, options?: StoreOptions): Promise<void>
  /**
   * Makes or replaces an object of any size. If it fails, nothing of it is left, and an earlier object of this key is as
   * it was. Of the stream, little is in memory at a time.
   */
  upload(
    key: string,
    stream: AsyncIterable<Uint8Array>,
    options?: UploadOptions,
  ): Promise<{ etag: string; size: number }>
  /**
   * How another thread gets the same store. Only restores with mode `'lazy'` need it: a thread that touches a page waits until another
   * one has fetched it. What it fetches with must not need the threads of libuv's pool, which may be waiting too.
   */
  recipe?(): StoreRecipe | Promise<StoreRecipe>
  /**
   * Optional: takes back uploads whose process has died, where they leave something behind that no list of objects shows, and that
   * costs money. Asked are those of keys that begin with `prefix`.
   *
   * @param isAbandoned - whether an upload of this key that began then, by the clock of the store, is to be taken back.
   * @returns how many have been.
   */
  removeUnfinished?(
    prefix: string,
    isAbandoned: (key: string, begunAt: Date) => boolean,
    options?: StoreOptions,
  ): Promise<number>
}

const methods = ['put', 'get', 'head', 'list', 'delete', 'upload'] as const

/** True for everything that has the six methods. */
export function isObjectStore(value: unknown): value is ObjectStore {
  if (typeof value !== 'object' || value === null) return false
  const store = value as Partial<Record<(typeof methods)[number], unknown>>
  return methods.every((method) => typeof store[method] === 'function')
}

/** @internal @throws TypeError. */
export function checkStore(value: unknown, name: string): ObjectStore {
  if (isObjectStore(value)) return value
  throw invalidArgType(name, 'an ObjectStore: directoryStore(), s3() or an object with its methods', value)
}

const maxKeyLength = 512
const maxNameLength = 200

/** @internal Whether {@link ObjectStore} knows such keys. */
export function isKey(value: string): boolean {
  if (value.length > maxKeyLength || !/^[A-Za-z0-9._/-]+$/.test(value)) return false
  return value.split('/').every((name) => {
    return name !== '' && name !== '.' && name !== '..' && name.length <= maxNameLength
  })
}

/** @internal @throws TypeError `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`. */
export function checkKey(value: unknown, name = 'key'): string {
  if (typeof value !== 'string') throw invalidArgType(name, 'a string', value)
  if (isKey(value)) return value
  throw invalidArgValue(
    `${name} must have letters, digits, '.', '_', '-' and single '/', which is neither first nor last, ` +
      `and no name '.' or '..' or of more than ${maxNameLength} characters, and at most ${maxKeyLength} in all, ` +
      `not '${value.slice(0, 100)}'`,
  )
}

/** @internal What keys can begin with: the empty string, a key, a part of one. @throws as {@link checkKey}. */
export function checkPrefix(value: unknown, name = 'prefix'): string {
  if (value === '') return value
  if (typeof value !== 'string') throw invalidArgType(name, 'a string', value)
  // What may follow makes keys of `a/` and of `a/.`.
  checkKey(`${value}x`, name)
  return value
}

/** @internal With `ifAbsent` false where it was not given. */
export interface CheckedPut {
  readonly ifAbsent: boolean
  readonly ifMatch: string | undefined
  readonly signal: AbortSignal | undefined
}

/** @internal Checks the arguments of {@link ObjectStore.put}, but for the key. */
export function checkPut(body: unknown, options: unknown): CheckedPut {
  checkBytes(body, 'body')
  const { ifAbsent = false, ifMatch, signal } = checkOptions(options, ['ifAbsent', 'ifMatch', 'signal'])
  if (typeof ifAbsent !== 'boolean') throw invalidArgType('options.ifAbsent', 'a boolean', ifAbsent)
  if (ifMatch !== undefined && typeof ifMatch !== 'string') {
    throw invalidArgType('options.ifMatch', 'a string', ifMatch)
  }
  if (ifMatch !== undefined && ifAbsent) {
    throw invalidArgValue('options.ifAbsent and options.ifMatch exclude each other; pass one of them')
  }
  return { ifAbsent, ifMatch, signal: checkSignal(signal, 'options.signal') }
}

/** @internal */
export interface CheckedGet {
  readonly range: readonly [start: number, end: number] | undefined
  readonly signal: AbortSignal | undefined
}

/** @internal Checks the options of {@link ObjectStore.get}. */
export function checkGet(options: unknown): CheckedGet {
  const { range, signal: given } = checkOptions(options, ['range', 'signal'])
  const signal = checkSignal(given, 'options.signal')
  if (range === undefined) return { range, signal }
  if (!Array.isArray(range) || range.length !== 2) {
    throw invalidArgType('options.range', 'an array of two numbers', range)
  }
  const start = checkInteger(range[0], 'options.range[0]', 0, Number.MAX_SAFE_INTEGER)
  const end = checkInteger(range[1], 'options.range[1]', 0, Number.MAX_SAFE_INTEGER)
  if (end <= start) throw outOfRange('options.range[1]', `greater than options.range[0], ${start}`, end)
  return { range: [start, end], signal }
}

/** @internal */
export interface CheckedUpload {
  readonly size: number | undefined
  readonly signal: AbortSignal | undefined
}

/** @internal Checks the arguments of {@link ObjectStore.upload}, but for the key. */
export function checkUpload(stream: unknown, options: unknown): CheckedUpload {
  const iterable = stream as Partial<AsyncIterable<unknown>> | null | undefined
  if (typeof iterable !== 'object' || typeof iterable?.[Symbol.asyncIterator] !== 'function') {
    throw invalidArgType('stream', 'an async iterable of Uint8Arrays', stream)
  }
  const { size, signal } = checkOptions(options, ['size', 'signal'])
  if (size !== undefined) checkInteger(size, 'options.size', 0, Number.MAX_SAFE_INTEGER)
  return { size: size as number | undefined, signal: checkSignal(signal, 'options.signal') }
}

/** @internal Checks options that are no more than a signal. */
export function checkSignalOnly(options: unknown): AbortSignal | undefined {
  return checkSignal(checkOptions(options, ['signal']).signal, 'options.signal')
}

/** @internal */
export function checkBytes(value: unknown, name: string): Uint8Array {
  if (!(value instanceof Uint8Array)) throw invalidArgType(name, 'a Uint8Array', value)
  return value
}

/** @internal `get` of what is not there. */
export function notFound(key: string, cause?: unknown): StillframeError {
  return new StillframeError('ERR_STILLFRAME_NOT_FOUND', `There is no object '${key}' in the store`, {
    cause,
  })
}

/** @internal The condition of a `put` does not hold. */
export function conditionFailed(
  key: string,
  { ifMatch }: { readonly ifMatch?: string | undefined },
  cause?: unknown,
): StillframeError {
  const why =
    ifMatch === undefined ? 'there is one already' : `it has not, or not any more, the etag ${ifMatch}`
  return new StillframeError('ERR_STILLFRAME_EXISTS', `Object '${key}' was not put: ${why}`, { cause })
}

/** @internal Everything else that a store can fail of. @param message - what failed, and what to do. */
export function storeFailure(key: string, message: string, cause?: unknown): StillframeError {
  return new StillframeError('ERR_STILLFRAME_IO', `Object '${key}': ${message}`, { cause })
}
