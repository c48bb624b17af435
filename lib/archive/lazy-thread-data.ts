/** Input and output messages of {@link file://./lazy-thread.ts}. */

import type { NativeFailure } from '../base/native-failure.js'
import type { LazyWish } from '../restore/filling.js'
import type { StoreRecipe } from '../store/recipe.js'
import type { StoredPart } from './remote/index.js'

/** One file of a chain in a store. */
export interface PartsFile {
  /** For error messages. */
  readonly name: string
  readonly parts: readonly StoredPart[]
}

/** Length in bytes. */
export function sizeOf({ parts }: PartsFile): number {
  return parts.reduce((sum, { size }) => sum + size, 0)
}

export interface LazyThreadData {
  readonly recipe: Omit<StoreRecipe, 'transfer'>
  readonly isSealed: boolean
  /** Files of the chain, newest first. */
  readonly files: readonly PartsFile[]
  readonly wish: LazyWish
}

/** `open`: the memory exists, and the number is for adoptLazily(). `end`: the restore is over. */
export type LazyMessage =
  | { readonly open: number }
  | { readonly end: 'whole' | { readonly native: PlainFailure } | { readonly store: StoreFailure } }

/** A NativeFailure as an object that can be posted to another thread. */
export type PlainFailure = Omit<NativeFailure, 'name' | 'stack' | 'cause'>

export interface StoreFailure {
  readonly code: string | undefined
  readonly message: string
}
