/** What goes wrong in the background, with no promise to reject. */

import process from 'node:process'
import { codeOf, isError, messageOf } from '../base/errors.js'

/** @param what - could not be done, in front of the reason. */
export function warn(error: unknown, what?: string): void {
  process.emitWarning(`stillframe: ${what === undefined ? '' : `${what}: `}${messageOf(error)}`, {
    type: 'StillframeArchiveWarning',
    ...(isError(error) && { code: String(codeOf(error) ?? ''), detail: String(error.stack) }),
  })
}
