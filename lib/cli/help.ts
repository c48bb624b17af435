/** The help texts, generated from the tables that the parser reads. */

import { type Command, commonOptions, type OptionSpec } from './command.js'

/** The text of `stillframe --help`. */
export function globalHelp(commands: readonly Command[], version: string): string {
  const width = Math.max(...commands.map((command) => synopsis(command).length))
  return [
    `stillframe ${version}: point-in-time snapshots of big memory`,
    '',
    'Usage: stillframe COMMAND [OPTIONS]',
    '',
    'Commands:',
    ...commands.map((command) => `  ${synopsis(command).padEnd(width)}   ${command.summary}`),
    `  ${'help [COMMAND]'.padEnd(width)}   print this text, or the help of one command`,
    '',
    'Options:',
    `  ${'-h, --help'.padEnd(width)}   print this text, or the help of one command: stillframe help COMMAND`,
    `  ${'    --version'.padEnd(width)}   print the version`,
    '',
    'Every command takes --json. Exit status: 0 success, 1 the operation failed or the file is bad,',
    '2 the command line is wrong, 128 + N terminated by signal N (130 for Ctrl-C).',
    '',
  ].join('\n')
}

/** The text of `stillframe COMMAND --help`. */
export function commandHelp(command: Command): string {
  const options = Object.entries({ ...command.options, ...commonOptions })
  const labels = options.map(([name, spec]) => optionLabel(name, spec))
  const width = Math.max(...labels.map((label) => label.length))
  return [
    `stillframe ${command.name}: ${command.summary}`,
    '',
    `Usage: stillframe ${synopsis(command)} [OPTIONS]`,
    '',
    'Options:',
    ...options.map(([, spec], index) => `  ${(labels[index] ?? '').padEnd(width)}   ${spec.help}`),
    '',
    command.details.trim(),
    '',
  ].join('\n')
}

function synopsis(command: Command): string {
  const optional = command.optional === undefined ? [] : [`[${command.optional}]`]
  return [command.name, ...command.positionals, ...optional].join(' ')
}

function optionLabel(name: string, spec: OptionSpec): string {
  const short = spec.short === undefined ? '   ' : `-${spec.short},`
  return `${short} --${name}${spec.type === 'string' ? ` ${spec.placeholder ?? 'VALUE'}` : ''}`
}
