/** Interprets failed S3 requests: what the failure means, and whether to retry. */

import { isError, messageOf, StillframeError } from '../base/errors.js'
import { storeFailure } from '../store/store.js'

/** An answer that must be wrong, such as another range or a truncated body. A retry may help. */
export class BadAnswer extends Error {}

/** The HTTP status; undefined if there was no answer. */
export function statusOf(error: unknown): number | undefined {
  if (!isError(error)) return undefined
  const { $metadata } = error as { $metadata?: { httpStatusCode?: unknown } }
  const status = $metadata?.httpStatusCode
  return typeof status === 'number' ? status : undefined
}

/** S3's name for the failure, such as `'NoSuchKey'`. */
export function nameOf(error: unknown): string {
  return isError(error) ? error.name : ''
}

/**
 * True if there is no such object. After a `HEAD` it may also mean that there is no such bucket.
 */
export function isMissing(error: unknown): boolean {
  return statusOf(error) === 404 && !['NoSuchBucket', 'NoSuchUpload'].includes(nameOf(error))
}

/**
 * 409: another request for the same key is in progress; AWS asks for the request to be repeated.
 * 500: some servers give this answer to the loser of a race.
 */
const passing = new Set([408, 409, 429, 500, 502, 503, 504])

/** Names and codes of network failures in Node and the SDK. */
const onTheWay = new Set([
  'ECONNRESET',
  'ECONNREFUSED',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EAI_AGAIN',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENETDOWN',
  'ERR_STREAM_PREMATURE_CLOSE',
  'TimeoutError',
  'RequestTimeout',
  'NetworkingError',
])

/** True if the same request may succeed a little later. */
export function mayPass(error: unknown): boolean {
  if (error instanceof BadAnswer) return true
  if (!isError(error)) return false
  const status = statusOf(error)
  // A 200 answer that cannot be parsed was cut off in transit.
  if (status !== undefined && (passing.has(status) || status < 300)) return true
  const { code, errno } = error as { code?: unknown; errno?: unknown }
  return onTheWay.has(error.name) || onTheWay.has(String(code)) || onTheWay.has(String(errno))
}

/** Converts a final failure to the error for the user. */
export function failureOf(key: string, doing: string, error: unknown): unknown {
  if (error instanceof StillframeError) return error
  const status = statusOf(error)
  const name = nameOf(error)
  if (status === 501 || name === 'NotImplemented') {
    return new StillframeError(
      'ERR_STILLFRAME_UNSUPPORTED_STORE',
      `Object '${key}': this store cannot ${doing} as requested (${messageOf(error)}). Use another store`,
      { cause: error },
    )
  }
  const answer = status === undefined ? name : `${status} ${name}`
  return storeFailure(key, `S3 could not ${doing} it (${answer}: ${messageOf(error)})`, error)
}
