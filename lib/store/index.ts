/** The public types of stores, for all modules that export them. */

export type { StoreRecipe } from './recipe.js'
export type {
  FetchedObject,
  GetOptions,
  ListedObject,
  ObjectStore,
  PutOptions,
  StoredObject,
  StoreOptions,
  UploadOptions,
} from './store.js'
