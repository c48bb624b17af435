/**
 * A store that seals objects before they leave the process, and opens and checks them when they
 * return.
 */

import { Buffer } from 'node:buffer'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { codeOf } from '../base/errors.js'
import { answerWithKeys, type Keys, keysFrom } from './encryption.js'
import { recipeOf, type StoreRecipe, storeOf } from './recipe.js'
import {
  blockBytes,
  blockCount,
  blockOffset,
  damaged,
  headBytes,
  isSealedSize,
  keyIdIn,
  newSeal,
  type ObjectSeal,
  openBlock,
  plainSize,
  sealBlock,
  sealedSize,
  sealOf,
  tagBytes,
} from './seal.js'
import {
  checkBytes,
  checkGet,
  checkUpload,
  type FetchedObject,
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutOptions,
  type StoredObject,
  type StoreOptions,
  storeFailure,
  type UploadOptions,
} from './store.js'

/** Number of blocks to seal or open before yielding to the event loop: about a millisecond. */
const blocksAtOnce = 16
/** Number of objects whose heads are cached. */
const rememberedHeads = 1000

/** Cached data of an object for range reads. */
interface KnownObject {
  /** Size of the plaintext. */
  readonly size: number
  readonly seal: ObjectSeal
}

export class SealedStore implements ObjectStore {
  readonly #store: ObjectStore
  readonly #keys: Keys
  /** The cached data, by key. */
  readonly #known = new Map<string, KnownObject>()

  constructor(store: ObjectStore, keys: Keys) {
    this.#store = store
    this.#keys = keys
  }

  /** The keys stay in this thread; the other thread requests each key that it needs. */
  async recipe(): Promise<StoreRecipe> {
    const { transfer = [], ...inner } = await recipeOf(this.#store)
    const { port1, port2 } = new MessageChannel()
    answerWithKeys(port1, this.#keys)
    return { module: import.meta.url, data: { inner, port: port2 }, transfer: [...transfer, port2] }
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ etag: string }> {
    checkBytes(body, 'body')
    const pieces: Uint8Array[] = []
    for await (const piece of this.#sealed(key, [body])) pieces.push(piece)
    return await this.#store.put(key, Buffer.concat(pieces), options)
  }

  async get(key: string, options?: GetOptions): Promise<FetchedObject> {
    const { range, signal } = checkGet(options)
    if (range !== undefined) return await this.#getRange(key, range, signal)
    const fetched = await this.#store.get(key, { signal })
    const { seal, size } = await this.#understand(key, fetched)
    const blocks = toBuffer(fetched.body).subarray(headBytes)
    return { ...fetched, size, body: await openBlocks(key, { seal, size }, 0, blocks, signal) }
  }

  async #getRange(
    key: string,
    range: readonly [number, number],
    signal: AbortSignal | undefined,
  ): Promise<FetchedObject> {
    // Retry once if the object may have been replaced by another.
    for (let isLastTry = false; ; isLastTry = true) {
      const remembered = this.#known.get(key)
      try {
        const known = remembered ?? (await this.#readHead(key, signal))
        return await this.#openRange(key, known, range, signal)
      } catch (error) {
        signal?.throwIfAborted()
        const mayBeAnother = remembered !== undefined || codeOf(error) === 'ERR_STILLFRAME_CORRUPT'
        if (isLastTry || !mayBeAnother) throw error
        this.#known.delete(key)
      }
    }
  }

  async #openRange(
    key: string,
    known: KnownObject,
    [start, end]: readonly [number, number],
    signal: AbortSignal | undefined,
  ): Promise<FetchedObject> {
    const { size } = known
    if (end > size) throw storeFailure(key, `it has ${size} bytes, not the ${end} that were requested`)
    const first = Math.floor(start / blockBytes)
    const until = Math.min(blockOffset(Math.ceil(end / blockBytes)), sealedSize(size))
    const fetched = await this.#store.get(key, { range: [blockOffset(first), until], signal })
    const plain = await openBlocks(key, known, first, toBuffer(fetched.body), signal)
    const from = first * blockBytes
    return { ...fetched, size, body: plain.subarray(start - from, end - from) }
  }

  async #readHead(key: string, signal: AbortSignal | undefined): Promise<KnownObject> {
    const fetched = await this.#store.get(key, { range: [0, headBytes], signal })
    const known = await this.#understand(key, fetched)
    if (this.#known.size >= rememberedHeads) this.#known.delete(this.#known.keys().next().value as string)
    this.#known.set(key, known)
    return known
  }

  /** @param fetched - begins with the head. */
  async #understand(key: string, { body, size }: FetchedObject): Promise<KnownObject> {
    const head = Buffer.from(body.subarray(0, headBytes))
    const { secret } = await this.#keys.byId(keyIdIn(head, key), `Object '${key}'`)
    return { size: plainSize(size, key), seal: sealOf(secret, head, key) }
  }

  async head(key: string, options?: StoreOptions): Promise<StoredObject | undefined> {
    // The caller expects the current state, so the next range read fetches the head again.
    this.#known.delete(key)
    const found = await this.#store.head(key, options)
    return found && { ...found, size: plainSize(found.size, key) }
  }

  /** Objects that are not sealed are listed with their stored size. */
  async *list(prefix: string, options?: StoreOptions): AsyncIterable<ListedObject> {
    for await (const found of this.#store.list(prefix, options)) {
      yield isSealedSize(found.size) ? { ...found, size: plainSize(found.size, found.key) } : found
    }
  }

  async delete(key: string, options?: StoreOptions): Promise<void> {
    await this.#store.delete(key, options)
  }

  async upload(
    key: string,
    stream: AsyncIterable<Uint8Array>,
    options?: UploadOptions,
  ): Promise<{ etag: string; size: number }> {
    const { size, signal } = checkUpload(stream, options)
    const { etag, size: stored } = await this.#store.upload(key, this.#sealed(key, stream), {
      signal,
      ...(size !== undefined && { size: sealedSize(size) }),
    })
    return { etag, size: plainSize(stored, key) }
  }

  async removeUnfinished(
    ...request: Parameters<NonNullable<ObjectStore['removeUnfinished']>>
  ): Promise<number> {
    return (await this.#store.removeUnfinished?.(...request)) ?? 0
  }

  async *#sealed(
    key: string,
    stream: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const seal = newSeal(await this.#keys.current(), key)
    yield seal.head
    let index = 0
    // A block is known to be the last one only at the end of the stream, so one is held back.
    let held = Buffer.alloc(0)
    for await (const given of stream) {
      let rest = toBuffer(given)
      while (held.length + rest.length > blockBytes) {
        const missing = blockBytes - held.length
        const block =
          held.length === 0 ? rest.subarray(0, blockBytes) : Buffer.concat([held, rest.subarray(0, missing)])
        rest = rest.subarray(missing)
        held = Buffer.alloc(0)
        yield* sealBlock(seal, index++, false, block)
        if (index % blocksAtOnce === 0) await nextTurn()
      }
      // Copy the rest, since the stream may reuse its memory.
      held = Buffer.concat([held, rest])
    }
    yield* sealBlock(seal, index, true, held)
  }
}

/** @param first - index of the first block in `sealed`. */
async function openBlocks(
  key: string,
  { seal, size }: Pick<KnownObject, 'seal' | 'size'>,
  first: number,
  sealed: Buffer,
  signal: AbortSignal | undefined,
): Promise<Buffer> {
  const last = blockCount(size) - 1
  const plain: Buffer[] = []
  for (let index = first, at = 0; at < sealed.length; index++) {
    const end = Math.min(at + blockBytes + tagBytes, sealed.length)
    if (end - at < tagBytes) throw damaged(key, 'it ends within a block')
    plain.push(openBlock(seal, index, index === last, sealed.subarray(at, end), key))
    at = end
    if ((index + 1) % blocksAtOnce === 0) {
      await nextTurn()
      signal?.throwIfAborted()
    }
  }
  return Buffer.concat(plain)
}

/** Returns a Buffer over the same memory. */
function toBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}

/** Opens the store described by `recipe()`. */
export async function openStore({
  inner,
  port,
}: {
  readonly inner: StoreRecipe
  readonly port: MessagePort
}): Promise<ObjectStore> {
  return new SealedStore(await storeOf(inner), keysFrom(port))
}
