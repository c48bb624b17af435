/**
 * Frames in S3-compatible object storage, by way of the client that a service has already.
 *
 * @module stillframe/s3
 */

export type * from '../store/index.js'
export { type S3Options, s3 } from './s3.js'
