/** The parts of the tracing contexts that the metrics use. */

import { isError, StillframeError } from '../base/errors.js'
import type { Traced } from '../base/tracing.js'

/** Context of any operation; each has some of these members. */
export interface Seen extends Traced<unknown> {
  /** For jobs on the heap: the function that was called. */
  readonly operation?: string
  /** Directory of the archive. */
  readonly archive?: string
  /** Number of frames that the archive has now. */
  readonly frames?: number
  /** Total size of the archive's files, in bytes. */
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
 * Returns the reason of a failure as one of a few known words, since an abort may have any reason,
 * and the values of a label must be bounded.
 */
export function failureCode({ error, aborted }: Seen): string {
  if (aborted) return 'ABORTED'
  if (error instanceof StillframeError) return error.code
  const { code } = (isError(error) ? error : {}) as { code?: unknown }
  return typeof code === 'string' && argumentCodes.has(code) ? code : 'OTHER'
}
