/**
 * An object store in memory that implements exactly `ObjectStore`, without delays: the reference
 * for other stores, and the basis of lying stores.
 */

import { createHash } from 'node:crypto'
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
  type ListedObject,
  notFound,
  type ObjectStore,
  type PutOptions,
  type StoredObject,
  type StoreOptions,
  storeFailure,
  type UploadOptions,
} from '../../lib/store/store.js'
import { bytesOf } from '../../lib/store/stream.js'

export interface MemoryStoreOptions {
  /** The clock of the store, in milliseconds since 1970. */
  readonly now?: () => number
}

export class MemoryStore implements ObjectStore {
  /** For tests that inspect or damage the contents of the store. */
  readonly objects = new Map<string, { body: Uint8Array; lastModifiedMs: number }>()
  readonly #now: () => number

  constructor({ now = Date.now }: MemoryStoreOptions = {}) {
    this.#now = now
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ etag: string }> {
    checkKey(key)
    const { ifAbsent, ifMatch, signal } = checkPut(body, options)
    if (signal?.aborted) throw signal.reason
    const there = this.objects.get(key)
    const refused = ifAbsent ? there !== undefined : ifMatch !== undefined && etagOf(there?.body) !== ifMatch
    if (refused) throw conditionFailed(key, { ifMatch })
    return this.#store(key, body)
  }

  async get(key: string, options?: GetOptions): Promise<FetchedObject> {
    checkKey(key)
    const { range, signal } = checkGet(options)
    if (signal?.aborted) throw signal.reason
    const told = this.#tell(key)
    const there = this.objects.get(key)
    if (told === undefined || there === undefined) throw notFound(key)
    const [start, end] = range ?? [0, told.size]
    if (end > told.size)
      throw storeFailure(key, `it has ${told.size} bytes, not the ${end} that were requested`)
    return { ...told, body: there.body.slice(start, end) }
  }

  async head(key: string, options?: StoreOptions): Promise<StoredObject | undefined> {
    checkKey(key)
    const signal = checkSignalOnly(options)
    if (signal?.aborted) throw signal.reason
    return this.#tell(key)
  }

  async *list(prefix: string, options?: StoreOptions): AsyncGenerator<ListedObject> {
    checkPrefix(prefix)
    const signal = checkSignalOnly(options)
    for (const key of [...this.objects.keys()].filter((name) => name.startsWith(prefix)).sort()) {
      if (signal?.aborted) throw signal.reason
      const told = this.#tell(key)
      if (told === undefined) continue
      const { etag: _, ...listed } = told
      yield listed
    }
  }

  async delete(key: string, options?: StoreOptions): Promise<void> {
    checkKey(key)
    const signal = checkSignalOnly(options)
    if (signal?.aborted) throw signal.reason
    this.objects.delete(key)
  }

  async upload(
    key: string,
    stream: AsyncIterable<Uint8Array>,
    options?: UploadOptions,
  ): Promise<{ etag: string; size: number }> {
    checkKey(key)
    const chunks: Uint8Array[] = []
    for await (const chunk of bytesOf(key, stream, checkUpload(stream, options)))
      chunks.push(Uint8Array.from(chunk))
    const body = Buffer.concat(chunks)
    return { ...this.#store(key, body), size: body.length }
  }

  #store(key: string, body: Uint8Array): { etag: string } {
    this.objects.set(key, { body: Uint8Array.from(body), lastModifiedMs: this.#now() })
    return { etag: etagOf(body) as string }
  }

  #tell(key: string): StoredObject | undefined {
    const there = this.objects.get(key)
    if (there === undefined) return undefined
    const { body, lastModifiedMs } = there
    return { key, size: body.length, etag: etagOf(body) as string, lastModified: new Date(lastModifiedMs) }
  }
}

/** The same ETag for the same content, as in S3. */
function etagOf(body: Uint8Array | undefined): string | undefined {
  return body === undefined ? undefined : createHash('md5').update(body).digest('hex')
}
