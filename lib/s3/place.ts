/** Where an object lies in S3, and under which name it is spoken of. */

import type { S3Client } from '@aws-sdk/client-s3'
import { storeFailure } from '../store/store.js'

export interface Place {
  readonly client: S3Client
  /** As the user knows it. */
  readonly key: string
  /** As S3 knows it, with the prefix of the store. */
  readonly at: { readonly Bucket: string; readonly Key: string }
}

/** The etag of an answer, without its quotes. */
export function etagIn({ key }: Place, answer: { ETag?: string | undefined }): string {
  const etag = optionalEtagIn(answer)
  if (etag === undefined) throw storeFailure(key, 'S3 has answered without an ETag')
  return etag
}

/** Undefined if there is none. */
export function optionalEtagIn({ ETag = '' }: { ETag?: string | undefined }): string | undefined {
  return ETag.replace(/^"(.*)"$/, '$1') || undefined
}
