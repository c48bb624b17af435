/** Options of the file that a capture or a job in a forked copy publishes. */

import type { TargetPlan } from '../addon/addon.js'
import { checkBoolean, optionalInteger, type UncheckedOptions } from '../base/validate.js'

/** Options for publishing a file. */
export interface FileOptions {
  /**
   * True (default): an existing file is replaced atomically. False: an existing file is an error,
   * `ERR_STILLFRAME_EXISTS`.
   */
  overwrite?: boolean | undefined
  /** Permission bits of the file, 0 to 0o777; the umask does not apply. Default 0o600. */
  mode?: number | undefined
  /** True (default): the file and its directory are synced before `done` resolves. */
  durable?: boolean | undefined
}

export const fileOptionNames = ['overwrite', 'mode', 'durable'] as const satisfies (keyof FileOptions)[]

/** The target without its path. */
export type CheckedFileOptions = Omit<TargetPlan, 'path'>

/** Checks the options and fills in the defaults. @throws TypeError, RangeError. */
export function checkFileOptions(given: UncheckedOptions<keyof FileOptions>): CheckedFileOptions {
  return {
    overwrite: checkBoolean(given.overwrite, 'options.overwrite', true),
    mode: optionalInteger(given.mode, 'options.mode', 0, 0o777) ?? 0o600,
    durable: checkBoolean(given.durable, 'options.durable', true),
  }
}
