/**
 * A multipart upload: several parts are in transit while the next one is filled. The object appears
 * when all parts have been combined. If anything fails before that, the upload is aborted, so that
 * none of it stays on the server.
 */

import { randomUUID } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  HeadObjectCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { storeFailure } from '../store/store.js'
import { untilAborted } from '../store/stream.js'
import { failureOf } from './answers.js'
import type { UploadMemory } from './part-memory.js'
import type { Part } from './parts.js'
import { etagIn, optionalEtagIn, type Place } from './place.js'
import { persistently, type RequestOptions } from './retry.js'

/** Time limit for aborting a failed upload, in milliseconds. */
const takingBackMs = 10_000

/** Key in the metadata of an object for the nonce of the upload that made it. */
const mark = 'stillframe-upload'

export interface UploadedObject {
  readonly etag: string
  readonly size: number
}

/**
 * @param parts - at least one; their memory is returned to `memory`.
 * @param stop - aborted by the caller to end the upload, or here when a part fails: `parts` must
 *   end with it.
 */
export async function uploadInParts(
  place: Place,
  parts: AsyncIterable<Part>,
  memory: UploadMemory,
  stop: AbortController,
): Promise<UploadedObject> {
  const upload = new MultipartUpload(place, stop.signal)
  try {
    await upload.begin()
    for await (const part of parts) {
      upload.send(part).then(
        () => memory.give(part.memory),
        (reason: unknown) => stop.abort(reason),
      )
    }
    return await upload.complete()
  } catch (error) {
    // If something failed earlier, this has no effect, and the earlier reason is thrown.
    stop.abort(error)
    await upload.takeBack()
    throw stop.signal.reason
  }
}

class MultipartUpload {
  readonly #place: Place
  readonly #signal: AbortSignal
  readonly #nonce = randomUUID()
  /** Undefined before the upload has begun and after it has been aborted. */
  #id: string | undefined
  readonly #sending: Promise<void>[] = []
  readonly #sent: CompletedPart[] = []
  #size = 0

  constructor(place: Place, signal: AbortSignal) {
    this.#place = place
    this.#signal = signal
  }

  async begin(): Promise<void> {
    const { client, key, at } = this.#place
    // Use the setting of the client's other requests: it determines the checksums of the parts.
    const calculation = await client.config.requestChecksumCalculation?.()
    const input = {
      ...at,
      Metadata: { [mark]: this.#nonce },
      ...(calculation === 'WHEN_SUPPORTED' && { ChecksumAlgorithm: 'CRC32' as const }),
    }
    // Not aborted by the signal: without the answer, which contains the id, the upload could not be
    // aborted.
    const begun = persistently(() => client.send(new CreateMultipartUploadCommand(input)), undefined)
    try {
      this.#id = (await untilAborted(begun, this.#signal)).UploadId
    } catch (error) {
      if (this.#signal.aborted) void begun.then(({ UploadId }) => this.#abort(UploadId)).catch(() => {})
      throw failureOf(key, 'upload', error)
    }
    if (this.#id === undefined)
      throw storeFailure(key, 'S3 has started an upload without returning an id for it')
  }

  async send(part: Part): Promise<void> {
    const sending = this.#send(part)
    this.#sending.push(sending)
    await sending
  }

  async #send({ number, bytes }: Part): Promise<void> {
    this.#size += bytes.length
    const { client, key, at } = this.#place
    const which = { ...at, UploadId: this.#id, PartNumber: number }
    const input = { ...which, Body: bytes, ContentLength: bytes.length }
    const signal = this.#signal
    const ask = (how: RequestOptions) => client.send(new UploadPartCommand(input), how)
    try {
      const answer = await persistently(ask, signal)
      const { ETag, ChecksumCRC32, ChecksumCRC32C, ChecksumCRC64NVME, ChecksumSHA1, ChecksumSHA256 } = answer
      const checksums = { ChecksumCRC32, ChecksumCRC32C, ChecksumCRC64NVME, ChecksumSHA1, ChecksumSHA256 }
      this.#sent[number - 1] = { PartNumber: number, ETag, ...checksums }
    } catch (error) {
      throw signal.aborted ? error : failureOf(key, 'upload', error)
    }
  }

  /** Combines the parts, when all have been sent. */
  async complete(): Promise<UploadedObject> {
    const { client, key, at } = this.#place
    const signal = this.#signal
    await Promise.all(this.#sending)
    if (signal.aborted) throw signal.reason
    const input = { ...at, UploadId: this.#id, MultipartUpload: { Parts: this.#sent } }
    const ask = (how: RequestOptions) => client.send(new CompleteMultipartUploadCommand(input), how)
    try {
      const answer = await persistently(ask, signal)
      // Ceph's gateway does not always return it.
      const etag = optionalEtagIn(answer) ?? (await this.#etagOfOurs())
      if (etag === undefined) throw storeFailure(key, 'S3 has not returned the ETag of the object')
      return { etag, size: this.#size }
    } catch (error) {
      if (signal.aborted) throw error
      // The request may have succeeded and the answer been lost; on a retry, S3 no longer knows the
      // upload. Once the upload has been aborted, the object that is there stays unchanged.
      await this.takeBack()
      const etag = await this.#etagOfOurs()
      if (etag === undefined) throw failureOf(key, 'upload', error)
      return { etag, size: this.#size }
    }
  }

  /**
   * Aborts the upload. Never rejects: an upload that cannot be aborted is left to the rules of the
   * bucket.
   */
  async takeBack(): Promise<void> {
    const id = this.#id
    this.#id = undefined
    await Promise.allSettled(this.#sending)
    await this.#abort(id)
  }

  async #abort(id: string | undefined): Promise<void> {
    if (id === undefined) return
    const { client, at } = this.#place
    const patience = AbortSignal.timeout(takingBackMs)
    const input = { ...at, UploadId: id }
    const ask = (how: RequestOptions) => client.send(new AbortMultipartUploadCommand(input), how)
    await persistently(ask, patience).catch(() => {})
  }

  /** Returns undefined if the object comes from another upload, or if that cannot be determined. */
  async #etagOfOurs(): Promise<string | undefined> {
    const { client, at } = this.#place
    const patience = AbortSignal.timeout(takingBackMs)
    const ask = (how: RequestOptions) => client.send(new HeadObjectCommand(at), how)
    try {
      const answer = await persistently(ask, patience)
      return answer.Metadata?.[mark] === this.#nonce ? etagIn(this.#place, answer) : undefined
    } catch {
      return undefined
    }
  }
}
