/**
 * The interface of object stores, where frames can be kept in addition to the local disk: six
 * operations that every object storage has, the meaning of their errors, and the valid keys.
 */

import { invalidArgType, invalidArgValue, outOfRange, StillframeError } from '../base/errors.js'
import { checkInteger, checkOptions, checkSignal } from '../base/validate.js'
import type { StoreRecipe } from './recipe.js'

/** Description of an object. */
export interface StoredObject {
  readonly key: string
  /** Size of the whole object in bytes. */
  readonly size: number
  /** Changes whenever the content does. Without quotes. */
  readonly etag: string
  /** Time of the last put, by the clock of the store. */
  readonly lastModified: Date
}

/** Description of an object in a list. */
export type ListedObject = Omit<StoredObject, 'etag'>

/** Result of {@link ObjectStore.get}. */
export interface FetchedObject extends StoredObject {
  /** The whole object, or the requested range: never less. */
  readonly body: Uint8Array
}

/** Options of all operations. */
export interface StoreOptions {
  /** Aborts the operation; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined
}

/** Options of {@link ObjectStore.put}: at most one of the two conditions. */
export interface PutOptions extends StoreOptions {
  /** True: put only if there is no object with this key. */
  readonly ifAbsent?: boolean | undefined
  /** Put only if there is an object with this key and this `etag`. */
  readonly ifMatch?: string | undefined
}

/** Options of {@link ObjectStore.get}. */
export interface GetOptions extends StoreOptions {
  /**
   * Range of bytes from `start` (inclusive) to `end` (exclusive); not empty. The object must have
   * all of them.
   */
  readonly range?: readonly [start: number, end: number] | undefined
}

/** Options of {@link ObjectStore.upload}. */
export interface UploadOptions extends StoreOptions {
  /**
   * Length of the stream in bytes, if known. A store may use it to choose the size of parts. If the
   * stream has another length, the upload fails and nothing is stored.
   */
  readonly size?: number | undefined
}

/**
 * Stores objects under keys. `directoryStore()` and `stillframe/s3` provide implementations; any
 * object with these six methods is one, too.
 *
 * **Keys** consist of letters, digits, `.`, `_`, `-` and `/`, at most 512 in total and 200 between
 * two slashes. A key neither begins nor ends with a slash, and no name between slashes is empty,
 * `.` or `..`. A store may refuse a key that continues with a slash where another key ends (`a` and
 * `a/b`).
 *
 * **Objects are atomic**: a reader sees the complete result of one call, also after a crash. When
 * the promise of `put` or `upload` resolves, the object is durable, and every later `get`, `head`
 * and `put` sees it. A list may lag behind.
 *
 * **Errors** are StillframeErrors:
 *
 * - `ERR_STILLFRAME_NOT_FOUND`: `get` of an object that does not exist.
 * - `ERR_STILLFRAME_EXISTS`: the condition of a `put` does not hold. It may also mean that this
 *   very `put` has succeeded, if a reply was lost and the request repeated: put something unique
 *   into the body, and read it back.
 * - `ERR_STILLFRAME_UNSUPPORTED_STORE`: the store does not support the request.
 * - `ERR_STILLFRAME_IO`, or a more specific code (`ERR_STILLFRAME_NO_SPACE`): any other failure,
 *   after retryable requests have been retried. `cause` is the error of the store. It is then
 *   unknown whether a `put`, an `upload` or a `delete` has taken effect, or still will.
 * - The unchanged reason of the signal. As after `ERR_STILLFRAME_IO`, the effect is then unknown.
 */
export interface ObjectStore {
  /**
   * Creates or replaces a small object. The store may read `body` until the promise settles: do not
   * modify it before that.
   */
  put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ etag: string }>
  /** Reads an object, or a range of it. */
  get(key: string, options?: GetOptions): Promise<FetchedObject>
  /** Resolves to undefined if there is no such object. */
  head(key: string, options?: StoreOptions): Promise<StoredObject | undefined>
  /**
   * Lists all objects whose keys begin with `prefix`, which may be empty, in key order (by bytes).
   * The list need not be from one instant: objects that are put or deleted meanwhile may be missing
   * or included.
   */
  list(prefix: string, options?: StoreOptions): AsyncIterable<ListedObject>
  /** Removes an object. It is not an error if there is none. */
  delete(key: string, options?: StoreOptions): Promise<void>
  /**
   * Creates or replaces an object of any size. If it fails, nothing of the new object is left, and
   * an earlier object with this key is unchanged. Only a small part of the stream is in memory at a
   * time.
   */
  upload(
    key: string,
    stream: AsyncIterable<Uint8Array>,
    options?: UploadOptions,
  ): Promise<{ etag: string; size: number }>
  /**
   * Returns a description from which another thread opens the same store. Only restores with mode
   * `'lazy'` need it: a thread that touches a page waits until another thread has fetched it. That
   * thread must not need the threads of libuv's pool to fetch pages, since they may be waiting too.
   */
  recipe?(): StoreRecipe | Promise<StoreRecipe>
  /**
   * Optional: removes uploads whose process has died, in stores where such uploads leave data that
   * no list of objects shows and that costs money. It covers uploads of keys that begin with
   * `prefix`.
   *
   * @param isAbandoned - returns true if an upload of this key that began at this time, by the
   *   clock of the store, is to be removed.
   * @returns the number of removed uploads.
   */
  removeUnfinished?(
    prefix: string,
    isAbandoned: (key: string, begunAt: Date) => boolean,
    options?: StoreOptions,
  ): Promise<number>
}

const methods = ['put', 'get', 'head', 'list', 'delete', 'upload'] as const

/** True for any object with the six methods. */
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

/** @internal True if the string is a valid key of an {@link ObjectStore}. */
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
    `${name} must consist of letters, digits, '.', '_', '-' and single '/', must not begin or end with ` +
      `'/', must have no part '.' or '..' or of more than ${maxNameLength} characters, and at most ` +
      `${maxKeyLength} characters in total, not '${value.slice(0, 100)}'`,
  )
}

/**
 * @internal Checks for a possible beginning of keys: the empty string, a key, or a part of a key.
 * @throws like {@link checkKey}.
 */
export function checkPrefix(value: unknown, name = 'prefix'): string {
  if (value === '') return value
  if (typeof value !== 'string') throw invalidArgType(name, 'a string', value)
  // The appended letter turns prefixes such as `a/` and `a/.` into valid keys.
  checkKey(`${value}x`, name)
  return value
}

/** @internal Checked options of `put`, with the default of `ifAbsent` filled in. */
export interface CheckedPut {
  readonly ifAbsent: boolean
  readonly ifMatch: string | undefined
  readonly signal: AbortSignal | undefined
}

/** @internal Checks the arguments of {@link ObjectStore.put}, except the key. */
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

/** @internal Checks the arguments of {@link ObjectStore.upload}, except the key. */
export function checkUpload(stream: unknown, options: unknown): CheckedUpload {
  const iterable = stream as Partial<AsyncIterable<unknown>> | null | undefined
  if (typeof iterable !== 'object' || typeof iterable?.[Symbol.asyncIterator] !== 'function') {
    throw invalidArgType('stream', 'an async iterable of Uint8Arrays', stream)
  }
  const { size, signal } = checkOptions(options, ['size', 'signal'])
  if (size !== undefined) checkInteger(size, 'options.size', 0, Number.MAX_SAFE_INTEGER)
  return { size: size as number | undefined, signal: checkSignal(signal, 'options.signal') }
}

/** @internal Checks options that consist only of a signal. */
export function checkSignalOnly(options: unknown): AbortSignal | undefined {
  return checkSignal(checkOptions(options, ['signal']).signal, 'options.signal')
}

/** @internal */
export function checkBytes(value: unknown, name: string): Uint8Array {
  if (!(value instanceof Uint8Array)) throw invalidArgType(name, 'a Uint8Array', value)
  return value
}

/** @internal The error of `get` for an object that does not exist. */
export function notFound(key: string, cause?: unknown): StillframeError {
  return new StillframeError('ERR_STILLFRAME_NOT_FOUND', `There is no object '${key}' in the store`, {
    cause,
  })
}

/** @internal The error of a `put` whose condition does not hold. */
export function conditionFailed(
  key: string,
  { ifMatch }: { readonly ifMatch?: string | undefined },
  cause?: unknown,
): StillframeError {
  const why =
    ifMatch === undefined ? 'it already exists' : `it does not have the etag ${ifMatch}, or no longer has it`
  return new StillframeError('ERR_STILLFRAME_EXISTS', `Object '${key}' was not written: ${why}`, { cause })
}

/** @internal Any other failure of a store. @param message - what failed, and what to do. */
export function storeFailure(key: string, message: string, cause?: unknown): StillframeError {
  return new StillframeError('ERR_STILLFRAME_IO', `Object '${key}': ${message}`, { cause })
}
