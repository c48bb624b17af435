/** What the metrics look at in the contexts of all operations. */

import { isError, StillframeError } from '../base/errors.js'
import type { Traced } from '../base/tracing.js'

/** A context of any operation: each has some of this. */
export interface Seen extends Traced<unknown> {
  /** Of jobs on the heap: the function that was called. */
  readonly operation?: string
  /** Directory of the archive. */
  readonly archive?: string
  /** How many frames the archive has now. */
  readonly frames?: number
  /** Bytes of all its files. */
  readonly bytes?: number
}

/** The parts of `SnapshotResult` and `ForkResult` that are counted. */
export interface SeenResult {
  readonly engine?: string
  readonly pauseMs?: number
  readonly durationMs?: number
  readonly allocatedBytes?: number
  readonly changedBytes?: number
  readonly copiedBytesPeak?: number
}

/** True for an operation that has failed or was aborted. */
export function isFailed(context: Seen): boolean {
  return Object.hasOwn(context, 'error')
}

const argumentCodes = new Set(['ERR_INVALID_ARG_TYPE', 'ERR_INVALID_ARG_VALUE', 'ERR_OUT_OF_RANGE'])

/**
 * Why it failed, as one of a few words that are known beforehand: an abort may have any reason, and
 * a label may not have any value.
 */
export function failureCode({ error, aborted }: Seen): string {
  if (aborted) return 'ABORTED'
  if (error instanceof StillframeError) return error.code
  const { code } = (isError(error) ? error : {}) as { code?: unknown }
  return typeof code === 'string' && argumentCodes.has(code) ? code : 'OTHER'
}
