/**
 * The definition of a `stillframe` command, and the parser of its arguments. Both the parser and
 * the help text read the command's table of options, so they cannot disagree.
 */

import { parseArgs } from 'node:util'
import { StillframeError } from '../base/errors.js'
import type { Io } from './io.js'

/** One option of a command. */
export interface OptionSpec {
  type: 'boolean' | 'string'
  /** One letter, without the dash. */
  short?: string
  /** For `string`: name of the value in the help text. */
  placeholder?: string
  /** True if the option may be given more than once. */
  multiple?: boolean
  help: string
}

/** A command: what the parser and the help text need to know, and the function that runs it. */
export interface Command {
  name: string
  /** One line, for the list of commands. */
  summary: string
  /** Names of the arguments; all of them are required. */
  positionals: readonly string[]
  /** Name of a further argument, which may be left out. */
  optional?: string
  options: Readonly<Record<string, OptionSpec>>
  /** Paragraphs for `--help`, below the options. */
  details: string
  /** Returns the exit status: 0 for success, 1 if the operation failed or the file is bad. */
  run(args: Arguments, io: Io): Promise<number>
}

/** The arguments of one call, checked against the command's table. */
export class Arguments {
  readonly positionals: readonly string[]
  readonly #values: ReadonlyMap<string, readonly (string | true)[]>

  constructor(positionals: readonly string[], values: ReadonlyMap<string, readonly (string | true)[]>) {
    this.positionals = positionals
    this.#values = values
  }

  /** The positional argument at `index`. The parser has checked that it exists. */
  positional(index: number): string {
    const value = this.positionals[index]
    if (value === undefined) throw new RangeError(`no positional argument ${index}`)
    return value
  }

  flag(name: string): boolean {
    return this.#values.has(name)
  }

  /** The value of an option, or its last value if it was given more than once. */
  value(name: string): string | undefined {
    return this.values(name).at(-1)
  }

  values(name: string): string[] {
    return (this.#values.get(name) ?? []).filter((value) => value !== true)
  }
}

/** The command line is wrong: one line for the user, a hint below it, exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
  readonly hint: string | undefined

  constructor(message: string, hint?: string) {
    super(message)
    this.hint = hint
  }
}

/** The operation cannot be done. The message is all that the user needs to know; exit status 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
}

/** True for an error of the library with this code, given without its prefix. */
export function isStillframeError(error: unknown, code: string): error is StillframeError {
  return error instanceof StillframeError && error.code === `ERR_STILLFRAME_${code}`
}

/** Options that every command has. */
export const commonOptions: Readonly<Record<string, OptionSpec>> = {
  json: { type: 'boolean', help: 'print one JSON document, and nothing else, on stdout' },
  help: { type: 'boolean', short: 'h', help: 'print this text' },
}

/**
 * Reads the arguments of `command`, without the command's own name.
 *
 * @throws UsageError for an unknown option, a missing or surplus value, or surplus arguments.
 */
export function parseArguments(command: Command, argv: readonly string[]): Arguments {
  const specs: Record<string, OptionSpec> = { ...command.options, ...commonOptions }
  const hint = `Try 'stillframe ${command.name} --help'.`
  // Not strict: the tokens carry the same information as parseArgs' own errors, and let us word the
  // errors in one line.
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(
      Object.entries(specs).map(([name, { type, short }]) => [name, short ? { type, short } : { type }]),
    ),
    strict: false,
    allowPositionals: true,
    tokens: true,
  })

  const positionals: string[] = []
  const values = new Map<string, (string | true)[]>()
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const spec = Object.hasOwn(specs, token.name) ? specs[token.name] : undefined
    if (spec === undefined) {
      const closest = closestOf(token.name, Object.keys(specs))
      const suggestion = closest === undefined ? hint : `Did you mean '--${closest}'? ${hint}`
      throw new UsageError(`unknown option '${token.rawName}'`, suggestion)
    }
    if (spec.type === 'boolean' && token.value !== undefined) {
      throw new UsageError(`option '${token.rawName}' takes no value`, hint)
    }
    // A value that looks like an option usually means that the value was forgotten.
    const forgotten = token.value === undefined || (!token.inlineValue && /^-./.test(token.value))
    if (spec.type === 'string' && (forgotten || token.value === '')) {
      throw new UsageError(`option '${token.rawName}' needs a value (${spec.placeholder ?? 'VALUE'})`, hint)
    }
    const known = values.get(token.name) ?? []
    if (known.length > 0 && spec.type === 'string' && !spec.multiple) {
      throw new UsageError(`option '${token.rawName}' was given twice`, hint)
    }
    values.set(token.name, [...known, token.value ?? true])
  }

  // With --help, the other arguments need not be valid.
  if (!values.has('help')) {
    const missing = command.positionals[positionals.length]
    if (missing !== undefined) throw new UsageError(`${missing} is missing`, hint)
    const most = command.positionals.length + (command.optional === undefined ? 0 : 1)
    const surplus = positionals[most]
    if (surplus !== undefined) throw new UsageError(`unexpected argument '${surplus}'`, hint)
  }
  return new Arguments(positionals, values)
}

/** The candidate that a mistyped `word` most likely stands for; undefined if none is close. */
export function closestOf(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.min(3, Math.ceil(word.length / 2) + 1)
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

/** Number of letters to insert, delete or replace to turn one word into the other. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 0; i < from.length; i++) {
    const next = [i + 1]
    for (let j = 0; j < to.length; j++) {
      const replace = (row[j] ?? 0) + (from[i] === to[j] ? 0 : 1)
      next.push(Math.min(replace, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1))
    }
    row = next
  }
  return row[to.length] ?? 0
}
