/** Options that locate the files that a snapshot builds on. */

import { checkPlace } from '../base/path.js'

/** Options shared by all functions that read a snapshot. */
export interface ParentOptions {
  /**
   * Files and directories (but not their subdirectories) in which to look for the parents of a
   * delta. Parents are recognized by their id, whatever their names. Default: the directory of each
   * file that has a parent.
   */
  parents?: string | URL | readonly (string | URL)[] | undefined
}

/** @throws TypeError. */
export function checkParents(value: unknown): string[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) return [checkPlace(value, 'options.parents')]
  return value.map((place, index) => checkPlace(place, `options.parents[${index}]`))
}
