/**
 * Frames in S3-compatible object storage, by way of the client that a service has already.
 *
 * @module stillframe/s3
 */

export type {
  FetchedObject,
  GetOptions,
  ListedObject,
  ObjectStore,
  PutOptions,
  StoredObject,
  StoreOptions,
  UploadOptions,
} from '../store/store.js'
export { type S3Options, s3 } from './s3.js'
