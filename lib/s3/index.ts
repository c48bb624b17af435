/**
 * Stores frames in S3-compatible object storage, through the S3 client that a service already has.
 *
 * @module stillframe/s3
 */

export type * from '../store/index.js'
export { type S3Options, s3 } from './s3.js'
