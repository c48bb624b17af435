/** An object store in a bucket of S3, or of a service that speaks its protocol. */

import { setMaxListeners } from 'node:events'
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { invalidArgType, invalidArgValue, StillframeError } from '../base/errors.js'
import { checkOptions } from '../base/validate.js'
import type { StoreRecipe } from '../store/recipe.js'
import {
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
} from '../store/store.js'
import { stoppedBy } from '../store/stream.js'
import { failureOf, isMissing, statusOf } from './answers.js'
import { checkedBody } from './body.js'
import { uploadInParts } from './multipart.js'
import { PartMemory } from './part-memory.js'
import { maxObjectBytes, partBytes } from './part-size.js'
import { type Part, partsOf } from './parts.js'
import { etagIn, type Place } from './place.js'
import { persistently, type RequestOptions } from './retry.js'
import { removeUnfinishedUploads } from './unfinished.js'

/** Options of {@link s3}. */
export interface S3Options {
  /**
   * Your own client, with its credentials, region, endpoint, timeouts and middleware. It remains
   * yours: the store never destroys it.
   */
  readonly client: S3Client
  readonly bucket: string
  /**
   * Prefix of all keys in the bucket: directory names such as `'backups/orders'`. A slash is
   * appended if it has none. Default: none.
   */
  readonly prefix?: string | undefined
}

/**
 * Returns an object store in a bucket. `@aws-sdk/client-s3` is an optional peer dependency.
 *
 * Transient failures (no connection, 409, 429, 5xx, a truncated body) are retried up to five times,
 * after random pauses, in addition to the client's own retries. Uploads of 8 MiB and more are sent
 * in parts, up to 11 at a time in at most 88 MiB of memory, which all uploads to this store share;
 * a failed upload is aborted.
 *
 * @throws TypeError `ERR_INVALID_ARG_TYPE` or `ERR_INVALID_ARG_VALUE`.
 */
export function s3(options: S3Options): ObjectStore {
  const { client, bucket, prefix = '' } = checkOptions(options, ['client', 'bucket', 'prefix'])
  if (typeof (client as Partial<S3Client> | null | undefined)?.send !== 'function') {
    throw invalidArgType('options.client', 'an S3Client of @aws-sdk/client-s3', client)
  }
  if (typeof bucket !== 'string') throw invalidArgType('options.bucket', 'a string', bucket)
  if (bucket === '') throw invalidArgValue('options.bucket must not be empty')
  if (typeof prefix !== 'string') throw invalidArgType('options.prefix', 'a string', prefix)
  const directory = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`
  if (directory !== '') checkKey(directory.slice(0, -1), 'options.prefix')
  return new S3Store(client as S3Client, bucket, directory)
}

class S3Store implements ObjectStore {
  readonly #client: S3Client
  readonly #bucket: string
  /** Empty, or ends with a slash. */
  readonly #prefix: string
  readonly #memory = new PartMemory()

  constructor(client: S3Client, bucket: string, prefix: string) {
    this.#client = client
    this.#bucket = bucket
    this.#prefix = prefix
  }

  async recipe(): Promise<StoreRecipe> {
    // Imported only when needed, since it loads modules that only other threads use.
    const { recipeOf } = await import('./other-thread.js')
    return await recipeOf(this.#client, this.#bucket, this.#prefix)
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ etag: string }> {
    const place = this.#placeOf(key)
    return await this.#put(place, body, checkPut(body, options))
  }

  async get(key: string, options?: GetOptions): Promise<FetchedObject> {
    const { at } = this.#placeOf(key)
    const { range, signal } = checkGet(options)
    const Range = range && `bytes=${range[0]}-${range[1] - 1}`
    const fetch = async (how: RequestOptions) => {
      const answer = await this.#client.send(new GetObjectCommand({ ...at, Range }), how)
      return { answer, ...(await checkedBody(key, answer, range, signal)) }
    }
    try {
      const { answer, size, body } = await persistently(fetch, signal)
      return { ...this.#told(key, answer), size, body }
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      if (isMissing(error)) throw notFound(key, error)
      throw failureOf(key, 'get', error)
    }
  }

  async head(key: string, options?: StoreOptions): Promise<StoredObject | undefined> {
    const { at } = this.#placeOf(key)
    const signal = checkSignalOnly(options)
    const ask = (how: RequestOptions) => this.#client.send(new HeadObjectCommand(at), how)
    try {
      const answer = await persistently(ask, signal)
      const { ContentLength: size } = answer
      if (size === undefined) throw storeFailure(key, 'S3 does not report its size')
      return { ...this.#told(key, answer), size }
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      if (isMissing(error)) return undefined
      throw failureOf(key, 'examine', error)
    }
  }

  list(prefix: string, options?: StoreOptions): AsyncIterable<ListedObject> {
    checkPrefix(prefix)
    return this.#list(prefix, checkSignalOnly(options))
  }

  async *#list(
    prefix: string,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<ListedObject, void, undefined> {
    let last = ''
    let token: string | undefined
    do {
      const page = await this.#page(prefix, token, signal)
      for (const { Key = '', Size: size, LastModified: lastModified } of page.Contents ?? []) {
        const key = Key.slice(this.#prefix.length)
        // Skip objects of other software, such as the directory markers of consoles.
        if (!isKey(key) || size === undefined || lastModified === undefined) continue
        if (key <= last) throw outOfOrder(last, key)
        last = key
        yield { key, size, lastModified }
      }
      token = page.IsTruncated ? page.NextContinuationToken : undefined
      if (page.IsTruncated && token === undefined) {
        throw storeFailure(prefix, 'S3 has returned a part of a list without a way to continue')
      }
    } while (token !== undefined)
  }

  async #page(
    prefix: string,
    ContinuationToken: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ListObjectsV2CommandOutput> {
    const Prefix = this.#prefix + prefix
    const input = { Bucket: this.#bucket, Prefix, ContinuationToken }
    const ask = (how: RequestOptions) => this.#client.send(new ListObjectsV2Command(input), how)
    try {
      return await persistently(ask, signal)
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      throw failureOf(`${prefix}…`, 'list', error)
    }
  }

  async delete(key: string, options?: StoreOptions): Promise<void> {
    const { at } = this.#placeOf(key)
    const signal = checkSignalOnly(options)
    const ask = (how: RequestOptions) => this.#client.send(new DeleteObjectCommand(at), how)
    try {
      await persistently(ask, signal)
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      if (!isMissing(error)) throw failureOf(key, 'delete', error)
    }
  }

  async upload(
    key: string,
    stream: AsyncIterable<Uint8Array>,
    options?: UploadOptions,
  ): Promise<{ etag: string; size: number }> {
    const place = this.#placeOf(key)
    const { size, signal } = checkUpload(stream, options)
    if (size !== undefined && size > maxObjectBytes) {
      throw storeFailure(
        key,
        `${size} bytes are too many: one object can have at most ${maxObjectBytes}. Divide the data`,
      )
    }
    const { stop, letGo } = stoppedBy(signal)
    // Each part in transit adds two listeners.
    setMaxListeners(0, stop.signal)
    const memory = this.#memory.forUpload()
    const parts = partsOf({ key, stream, size, memory, signal: stop.signal })
    try {
      const first = await parts.next()
      const isWhole = first.done || first.value.bytes.length < partBytes(1, size)
      if (!isWhole) return await uploadInParts(place, following(first.value, parts), memory, stop)
      const body = first.done ? new Uint8Array(0) : first.value.bytes
      const { etag } = await this.#put(place, body, { signal })
      return { etag, size: body.length }
    } finally {
      letGo()
      await parts.return()
      memory.end()
    }
  }

  async removeUnfinished(
    prefix: string,
    isAbandoned: (key: string, begunAt: Date) => boolean,
    options?: StoreOptions,
  ): Promise<number> {
    checkPrefix(prefix)
    const signal = checkSignalOnly(options)
    const bucket = { client: this.#client, bucket: this.#bucket, prefix: this.#prefix }
    return await removeUnfinishedUploads(bucket, prefix, isAbandoned, signal)
  }

  async #put(
    place: Place,
    Body: Uint8Array,
    { ifAbsent = false, ifMatch, signal }: PutOptions,
  ): Promise<{ etag: string }> {
    const { key, at, client } = place
    const condition = {
      ...(ifAbsent && { IfNoneMatch: '*' }),
      ...(ifMatch !== undefined && { IfMatch: ifMatch }),
    }
    const input = { ...at, Body, ContentLength: Body.length, ...condition }
    const ask = (how: RequestOptions) => client.send(new PutObjectCommand(input), how)
    try {
      return { etag: etagIn(place, await persistently(ask, signal)) }
    } catch (error) {
      if (signal?.aborted) throw signal.reason
      const refused = statusOf(error) === 412 || (ifMatch !== undefined && isMissing(error))
      throw refused ? conditionFailed(key, { ifMatch }, error) : failureOf(key, 'put', error)
    }
  }

  #placeOf(key: string): Place {
    checkKey(key)
    return { client: this.#client, key, at: { Bucket: this.#bucket, Key: this.#prefix + key } }
  }

  #told(
    key: string,
    answer: { ETag?: string | undefined; LastModified?: Date | undefined },
  ): Omit<StoredObject, 'size'> {
    const { LastModified: lastModified } = answer
    if (lastModified === undefined) throw storeFailure(key, 'S3 does not report when it was written')
    return { key, etag: etagIn(this.#placeOf(key), answer), lastModified }
  }
}

async function* following(first: Part, rest: AsyncIterable<Part>): AsyncGenerator<Part, void, undefined> {
  yield first
  yield* rest
}

function outOfOrder(before: string, after: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_UNSUPPORTED_STORE',
    `This store lists '${after}' after '${before}', so not in key order, as directory buckets do. ` +
      'Use a general-purpose bucket',
  )
}
