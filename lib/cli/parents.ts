/** The option `--parents`, shared by all commands that read snapshots. */

import type { Arguments, OptionSpec } from './command.js'

export const parentsOption: OptionSpec = {
  type: 'string',
  placeholder: 'PLACE',
  multiple: true,
  help: 'file or directory with parents (default: next to each file); repeatable',
}

/** The library's option; without it, parents are looked for next to each file. */
export function readParents(args: Arguments): { parents?: string[] } {
  const parents = args.values('parents')
  return parents.length === 0 ? {} : { parents }
}
