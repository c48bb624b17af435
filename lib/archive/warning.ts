/** Reports failures in the background, where there is no promise to reject. */

import process from 'node:process'
import { codeOf, isError, messageOf } from '../base/errors.js'

/** @param what - the operation that failed, to be put before the reason. */
export function warn(error: unknown, what?: string): void {
  process.emitWarning(`stillframe: ${what === undefined ? '' : `${what}: `}${messageOf(error)}`, {
    type: 'StillframeArchiveWarning',
    ...(isError(error) && { code: String(codeOf(error) ?? ''), detail: String(error.stack) }),
  })
}
