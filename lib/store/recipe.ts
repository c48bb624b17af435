/**
 * Describes a store so that another thread can open it: objects with methods cannot be transferred.
 */

import type { Transferable } from 'node:worker_threads'
import { StillframeError } from '../base/errors.js'
import { checkStore, type ObjectStore } from './store.js'

/** Result of {@link ObjectStore.recipe}. */
export interface StoreRecipe {
  /**
   * URL of a module that exports `openStore`, which takes `data` and returns the store or a promise
   * of it.
   */
  readonly module: string
  /** Argument of `openStore`; must be supported by `structuredClone()`. */
  readonly data: unknown
  /** Parts of `data` to transfer instead of copying: message ports. */
  readonly transfer?: readonly Transferable[]
}

/**
 * @throws StillframeError `ERR_STILLFRAME_UNSUPPORTED_STORE` if another thread cannot use the
 *   store.
 */
export async function recipeOf(store: ObjectStore): Promise<StoreRecipe> {
  if (typeof store.recipe === 'function') return await store.recipe()
  throw new StillframeError(
    'ERR_STILLFRAME_UNSUPPORTED_STORE',
    'This store cannot be used by another thread, which has to fetch pages while this one waits for them: it has no recipe(). ' +
      'Give it one (docs/STORAGE.md), or restore with another mode',
  )
}

/** Opens the store on the other thread. */
export async function storeOf({ module, data }: Omit<StoreRecipe, 'transfer'>): Promise<ObjectStore> {
  const { openStore } = (await import(module)) as { openStore?: (data: unknown) => unknown }
  if (typeof openStore !== 'function') {
    throw new StillframeError(
      'ERR_STILLFRAME_UNSUPPORTED_STORE',
      `${module}, which the recipe() of the store names, has no export openStore`,
    )
  }
  return checkStore(await openStore(data), `the store that openStore() of ${module} returns`)
}
