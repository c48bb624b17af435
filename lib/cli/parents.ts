/** The option `--parents` of all commands that read snapshots. */

import type { Arguments, OptionSpec } from './command.js'

export const parentsOption: OptionSpec = {
  type: 'string',
  placeholder: 'PLACE',
  multiple: true,
  help: 'where parents are: a file or directory (default: beside each); repeatable',
}

/** The option of the library; none: beside each file. */
export function readParents(args: Arguments): { parents?: string[] } {
  const parents = args.values('parents')
  return parents.length === 0 ? {} : { parents }
}
