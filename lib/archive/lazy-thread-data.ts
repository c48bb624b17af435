/** What {@link file://./lazy-thread.ts} is given, and what it tells. */

import type { NativeFailure } from '../base/native-failure.js'
import type { LazyWish } from '../restore/filling.js'
import type { StoreRecipe } from '../store/recipe.js'
import type { StoredPart } from './remote/index.js'

/** One file of a chain in a store. */
export interface PartsFile {
  /** For messages. */
  readonly name: string
  readonly parts: readonly StoredPart[]
}

/** Bytes. */
export function sizeOf({ parts }: PartsFile): number {
  return parts.reduce((sum, { size }) => sum + size, 0)
}

export interface LazyThreadData {
  readonly recipe: Omit<StoreRecipe, 'transfer'>
  readonly isSealed: boolean
  /** From the newest on. */
  readonly files: readonly PartsFile[]
  readonly wish: LazyWish
}

/** The memory is there: for adoptLazily(). Or it is over. */
export type LazyMessage =
  | { readonly open: number }
  | { readonly end: 'whole' | { readonly native: PlainFailure } | { readonly store: StoreFailure } }

/** A NativeFailure as an object that can be sent. */
export type PlainFailure = Omit<NativeFailure, 'name' | 'stack' | 'cause'>

export interface StoreFailure {
  readonly code: string | undefined
  readonly message: string
}
