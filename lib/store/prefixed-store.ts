/** A part of a store: the objects whose keys begin with a prefix, which is hidden. */

import { recipeOf, type StoreRecipe, storeOf } from './recipe.js'
import {
  checkKey,
  checkPrefix,
  type FetchedObject,
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutOptions,
  type StoredObject,
  type StoreOptions,
  type UploadOptions,
} from './store.js'

export class PrefixedStore implements ObjectStore {
  readonly #store: ObjectStore
  readonly #prefix: string

  /** @param name - the prefix, without the slash at its end. */
  constructor(store: ObjectStore, name: string) {
    this.#store = store
    this.#prefix = `${checkKey(name, 'prefix')}/`
  }

  async recipe(): Promise<StoreRecipe> {
    const { transfer = [], ...inner } = await recipeOf(this.#store)
    return { module: import.meta.url, data: { inner, name: this.#prefix.slice(0, -1) }, transfer }
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ etag: string }> {
    return await this.#store.put(this.#whole(key), body, options)
  }

  async get(key: string, options?: GetOptions): Promise<FetchedObject> {
    return { ...(await this.#store.get(this.#whole(key), options)), key }
  }

  async head(key: string, options?: StoreOptions): Promise<StoredObject | undefined> {
    const found = await this.#store.head(this.#whole(key), options)
    return found && { ...found, key }
  }

  async *list(prefix: string, options?: StoreOptions): AsyncIterable<ListedObject> {
    for await (const found of this.#store.list(this.#prefix + checkPrefix(prefix), options)) {
      yield { ...found, key: found.key.slice(this.#prefix.length) }
    }
  }

  async delete(key: string, options?: StoreOptions): Promise<void> {
    await this.#store.delete(this.#whole(key), options)
  }

  async upload(
    key: string,
    stream: AsyncIterable<Uint8Array>,
    options?: UploadOptions,
  ): Promise<{ etag: string; size: number }> {
    return await this.#store.upload(this.#whole(key), stream, options)
  }

  async removeUnfinished(
    prefix: string,
    isAbandoned: (key: string, begunAt: Date) => boolean,
    options?: StoreOptions,
  ): Promise<number> {
    const within = (key: string, begunAt: Date): boolean =>
      isAbandoned(key.slice(this.#prefix.length), begunAt)
    const whole = this.#prefix + checkPrefix(prefix)
    return (await this.#store.removeUnfinished?.(whole, within, options)) ?? 0
  }

  #whole(key: string): string {
    return this.#prefix + checkKey(key)
  }
}

/** Opens the store described by `recipe()`. */
export async function openStore({
  inner,
  name,
}: {
  readonly inner: StoreRecipe
  readonly name: string
}): Promise<ObjectStore> {
  return new PrefixedStore(await storeOf(inner), name)
}
