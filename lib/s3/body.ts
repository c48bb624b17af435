/** Checks the answer of S3 to a `GET` against the request. */

import { Buffer } from 'node:buffer'
import type { GetObjectCommandOutput } from '@aws-sdk/client-s3'
import { messageOf } from '../base/errors.js'
import { storeFailure } from '../store/store.js'
import { chunksOf } from '../store/stream.js'
import { BadAnswer } from './answers.js'

export interface CheckedBody {
  /** Size of the whole object in bytes. */
  readonly size: number
  readonly body: Uint8Array
}

/** @throws BadAnswer for bytes other than the requested ones, for too many and for too few. */
export async function checkedBody(
  key: string,
  answer: GetObjectCommandOutput,
  range: readonly [start: number, end: number] | undefined,
  signal: AbortSignal | undefined,
): Promise<CheckedBody> {
  const stream = answer.Body as AsyncIterable<Uint8Array> | undefined
  try {
    if (stream === undefined) throw new BadAnswer('there is no body')
    const { size, length } = lengths(key, answer, range)
    return { size, body: await readAll(stream, length, signal) }
  } catch (error) {
    // The socket cannot be used again.
    ;(stream as { destroy?: () => void } | undefined)?.destroy?.()
    throw error
  }
}

function lengths(
  key: string,
  { ContentLength, ContentRange }: GetObjectCommandOutput,
  range: readonly [start: number, end: number] | undefined,
): { size: number; length: number } {
  if (range === undefined) {
    if (ContentLength === undefined) throw new BadAnswer('it does not say how many bytes there are')
    if (ContentRange !== undefined) throw new BadAnswer(`it is only ${ContentRange}`)
    return { size: ContentLength, length: ContentLength }
  }
  const [start, end] = range
  const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(ContentRange ?? '') ?? []
  const size = Number(total)
  // S3 shortens a range at the end of the object.
  if (Number(first) === start && size < end && Number(last) === size - 1) {
    throw storeFailure(key, `it has ${size} bytes, not the ${end} that were requested`)
  }
  if (Number(first) !== start || Number(last) !== end - 1) {
    throw new BadAnswer(`it is ${ContentRange ?? 'the whole object'}, not bytes ${start}-${end - 1}`)
  }
  return { size, length: end - start }
}

async function readAll(
  stream: AsyncIterable<Uint8Array>,
  length: number,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const body = Buffer.allocUnsafeSlow(length)
  let filled = 0
  try {
    for await (const chunk of chunksOf(stream, signal)) {
      if (filled + chunk.length > length) throw new BadAnswer(`there are more than ${length} bytes`)
      body.set(chunk, filled)
      filled += chunk.length
    }
  } catch (error) {
    if (error instanceof BadAnswer || signal?.aborted) throw error
    // The connection was cut, or the client has found a wrong checksum.
    throw new BadAnswer(`after ${filled} of ${length} bytes: ${messageOf(error)}`, { cause: error })
  }
  if (filled < length) throw new BadAnswer(`there are only ${filled} of ${length} bytes`)
  return body
}
