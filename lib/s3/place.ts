/** The location of an object in S3, and its name in messages. */

import type { S3Client } from '@aws-sdk/client-s3'
import { storeFailure } from '../store/store.js'

export interface Place {
  readonly client: S3Client
  /** Key as the user sees it. */
  readonly key: string
  /** Key as S3 sees it, with the prefix of the store. */
  readonly at: { readonly Bucket: string; readonly Key: string }
}

/** Returns the ETag of an answer without its quotes. */
export function etagIn({ key }: Place, answer: { ETag?: string | undefined }): string {
  const etag = optionalEtagIn(answer)
  if (etag === undefined) throw storeFailure(key, 'S3 has answered without an ETag')
  return etag
}

/** Returns undefined if there is none. */
export function optionalEtagIn({ ETag = '' }: { ETag?: string | undefined }): string | undefined {
  return ETag.replace(/^"(.*)"$/, '$1') || undefined
}
