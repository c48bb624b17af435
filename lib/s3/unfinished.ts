/**
 * Removes multipart uploads whose process has died. Their parts stay on the server, where no list
 * of objects shows them, until the uploads are aborted.
 */

import {
  AbortMultipartUploadCommand,
  ListMultipartUploadsCommand,
  type ListMultipartUploadsCommandOutput,
  type MultipartUpload,
  type S3Client,
} from '@aws-sdk/client-s3'
import { isKey } from '../store/store.js'
import { failureOf, nameOf } from './answers.js'
import { persistently, type RequestOptions } from './retry.js'

export interface StoreInBucket {
  readonly client: S3Client
  readonly bucket: string
  /** Empty, or ends with a slash. */
  readonly prefix: string
}

/**
 * @param isAbandoned - called with keys as the user of the store sees them.
 * @returns the number of uploads that were aborted.
 */
export async function removeUnfinishedUploads(
  store: StoreInBucket,
  prefix: string,
  isAbandoned: (key: string, begunAt: Date) => boolean,
  signal: AbortSignal | undefined,
): Promise<number> {
  let removed = 0
  try {
    // Uploads are aborted while the list is read: pages that have been read do not affect later
    // ones.
    for await (const { Key = '', UploadId, Initiated } of unfinishedUploads(store, prefix, signal)) {
      const key = Key.slice(store.prefix.length)
      // Skip uploads of other software. Some servers list more than was requested.
      if (!Key.startsWith(store.prefix + prefix) || !isKey(key)) continue
      if (UploadId === undefined || Initiated === undefined || !isAbandoned(key, Initiated)) continue
      const input = { Bucket: store.bucket, Key, UploadId }
      const ask = (how: RequestOptions) => store.client.send(new AbortMultipartUploadCommand(input), how)
      await persistently(ask, signal).catch((error: unknown) => {
        // Another process has already aborted it.
        if (nameOf(error) !== 'NoSuchUpload') throw error
      })
      removed++
    }
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    throw failureOf(`${prefix}…`, 'remove unfinished uploads of', error)
  }
  return removed
}

async function* unfinishedUploads(
  { client, bucket, prefix: directory }: StoreInBucket,
  prefix: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<MultipartUpload, void, undefined> {
  let page: ListMultipartUploadsCommandOutput | undefined
  do {
    const { NextKeyMarker: KeyMarker, NextUploadIdMarker: UploadIdMarker } = page ?? {}
    const input = { Bucket: bucket, Prefix: directory + prefix, KeyMarker, UploadIdMarker }
    const ask = (how: RequestOptions) => client.send(new ListMultipartUploadsCommand(input), how)
    page = await persistently(ask, signal)
    yield* page.Uploads ?? []
  } while (page.IsTruncated && page.NextKeyMarker !== undefined)
}
