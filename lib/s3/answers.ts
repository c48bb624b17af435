/** What S3 has answered when it has not done what was asked: what that means, and whether to ask again. */

import { isError, messageOf, StillframeError } from '../base/errors.js'
import { storeFailure } from '../store/store.js'

/** An answer that cannot be true, such as another range or a body that was cut short. Asking again may help. */
export class BadAnswer extends Error {}

/** Undefined: nothing was answered. */
export function statusOf(error: unknown): number | undefined {
  if (!isError(error)) return undefined
  const { $metadata } = error as { $metadata?: { httpStatusCode?: unknown } }
  const status = $metadata?.httpStatusCode
  return typeof status === 'number' ? status : undefined
}

/** What S3 calls the failure, such as `'NoSuchKey'`. */
export function nameOf(error: unknown): string {
  return isError(error) ? error.name : ''
}

/** There is no such object; for all that a `HEAD` tells, no such bucket either. */
export function isMissing(error: unknown): boolean {
  return statusOf(error) === 404 && !['NoSuchBucket', 'NoSuchUpload'].includes(nameOf(error))
}

/**
 * 409: another request for the same key is under way; AWS wants the request made again. 500: some servers tell the loser of a
 * race so.
 */
const passing = new Set([408, 409, 429, 500, 502, 503, 504])

/** As Node and the SDK call failures on the way. */
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

/** Whether the same request may be answered otherwise a little later. */
export function mayPass(error: unknown): boolean {
  if (error instanceof BadAnswer) return true
  if (!isError(error)) return false
  const status = statusOf(error)
  // An answer that says 200 and cannot be read has been cut on its way.
  if (status !== undefined && (passing.has(status) || status < 300)) return true
  const { code, errno } = error as { code?: unknown; errno?: unknown }
  return onTheWay.has(error.name) || onTheWay.has(String(code)) || onTheWay.has(String(errno))
}

/** What a user gets for what has failed for good. */
export function failureOf(key: string, doing: string, error: unknown): unknown {
  if (error instanceof StillframeError) return error
  const status = statusOf(error)
  const name = nameOf(error)
  if (status === 501 || name === 'NotImplemented') {
    return new StillframeError(
      'ERR_STILLFRAME_UNSUPPORTED_STORE',
      `Object '${key}': this store cannot ${doing} as it is asked to (${messageOf(error)}). Take another store`,
      { cause: error },
    )
  }
  const answer = status === undefined ? name : `${status} ${name}`
  return storeFailure(key, `S3 could not ${doing} it (${answer}: ${messageOf(error)})`, error)
}
