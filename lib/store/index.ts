/** What users see of stores, whichever module they have it from. */

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
