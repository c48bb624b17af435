/** What users see of stores, whichever module they have it from. */

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
