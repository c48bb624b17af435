#!/usr/bin/env node

/**
 * The `stillframe` command. Finds the command, parses its arguments, runs it, and turns the outcome
 * into an exit status: 0 for success, 1 for failure, 2 for a wrong command line, 128 + N for signal
 * N.
 */

import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import process from 'node:process'
import { URL } from 'node:url'
import { printableLines } from '../base/printable.js'
import {
  type Arguments,
  type Command,
  CommandError,
  closestOf,
  parseArguments,
  UsageError,
} from './command.js'
import { commandHelp, globalHelp } from './help.js'
import { createIo, Interrupted, isBrokenPipe, styleFor, writeText } from './io.js'

/**
 * All commands by name. Each is loaded on demand, since most need only a small part of the library.
 */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  demo: async () => (await import('./demo.js')).demo,
  inspect: async () => (await import('./inspect.js')).inspect,
  verify: async () => (await import('./verify.js')).verify,
  extract: async () => (await import('./extract.js')).extract,
  diff: async () => (await import('./diff.js')).diff,
  frames: async () => (await import('./frames.js')).frames,
  restore: async () => (await import('./restore.js')).restore,
  prune: async () => (await import('./prune.js')).prune,
  compact: async () => (await import('./compact.js')).compact,
  report: async () => (await import('./report.js')).report,
  'heap summary': async () => (await import('./heap-summary.js')).heapSummary,
  'heap diff': async () => (await import('./heap-diff.js')).heapDiff,
  doctor: async () => (await import('./doctor.js')).doctor,
}
const names = Object.keys(commands)

async function main(argv: readonly string[]): Promise<number> {
  const [first] = argv
  if (first === undefined) {
    throw new UsageError('no command given', `Commands: ${names.join(', ')}. Try 'stillframe --help'.`)
  }
  if (first === '--version') return await answer(`${packageVersion()}\n`)
  if (first === '--help' || first === '-h') return await answer(await allHelp())
  if (first.startsWith('-')) throw new UsageError(`unknown option '${first}'`, "Try 'stillframe --help'.")
  if (first === 'help') return await answerHelp(argv.slice(1))

  const command = await commandNamed(argv)
  const args = parseArguments(command, argv.slice(wordsOf(command.name)))
  if (args.flag('help')) return await answer(commandHelp(command))
  return await run(command, args)
}

/**
 * Finds the command that `words` begin with: one or two of them (`heap summary`).
 *
 * @throws UsageError that suggests the name that was probably meant.
 */
async function commandNamed(words: readonly string[]): Promise<Command> {
  const name = names.find((each) => each === words.slice(0, wordsOf(each)).join(' '))
  const load = name === undefined ? undefined : commands[name]
  if (load !== undefined) return await load()
  const [first = '', second] = words
  const group = names.filter((each) => each.startsWith(`${first} `))
  if (group.length > 0) throw unknownInGroup(first, second, group)
  const closest = closestOf(first, ['help', ...names])
  const hint = closest === undefined ? `Commands: ${names.join(', ')}.` : `Did you mean '${closest}'?`
  throw new UsageError(`unknown command '${first}'`, `${hint} Try 'stillframe --help'.`)
}

function unknownInGroup(first: string, second: string | undefined, group: readonly string[]): UsageError {
  const hint = `Commands: ${group.join(', ')}. Try 'stillframe help ${group[0]}'.`
  if (second === undefined || second.startsWith('-')) {
    return new UsageError(`'${first}' needs a subcommand`, hint)
  }
  const closest = closestOf(`${first} ${second}`, group)
  const suggestion = closest === undefined ? hint : `Did you mean '${closest}'? ${hint}`
  return new UsageError(`unknown command '${first} ${second}'`, suggestion)
}

function wordsOf(name: string): number {
  return name.split(' ').length
}

/** `stillframe help [COMMAND]`. */
async function answerHelp(args: readonly string[]): Promise<number> {
  const words = args.filter((word) => word !== '--help' && word !== '-h')
  const isGlobal = words[0] === undefined || words[0] === 'help'
  const command = isGlobal ? undefined : await commandNamed(words)
  const surplus = words[command === undefined ? 1 : wordsOf(command.name)]
  if (surplus !== undefined)
    throw new UsageError(`unexpected argument '${surplus}'`, "Try 'stillframe --help'.")
  return await answer(command === undefined ? await allHelp() : commandHelp(command))
}

async function allHelp(): Promise<string> {
  return globalHelp(await Promise.all(Object.values(commands).map((load) => load())), packageVersion())
}

/** Runs a command. Signals abort its work. */
async function run(command: Command, args: Arguments): Promise<number> {
  const interruption = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      const reason = new Interrupted(name, constants.signals[name])
      // The first signal lets the work clean up; the second one exits immediately.
      if (interruption.signal.aborted) process.exit(reason.exitStatus)
      interruption.abort(reason)
    })
  }
  const io = createIo(args.flag('json'), interruption.signal)
  try {
    return await command.run(args, io)
  } catch (error) {
    // The library chooses the error of an interrupted operation, but the cause is known here.
    if (interruption.signal.reason instanceof Interrupted) return interruption.signal.reason.exitStatus
    if (io.json && !(error instanceof UsageError) && !isBrokenPipe(error)) {
      await io.report({ error: describeForJson(error) }, [])
    }
    throw error
  }
}

async function answer(text: string): Promise<number> {
  await writeText(text)
  return 0
}

/** Tells the user what went wrong, and returns the exit status. */
function explain(error: unknown): number {
  // The reader of our output is gone: there is no one to tell.
  if (isBrokenPipe(error)) return 1
  const { bold, bad, dim } = styleFor(process.stderr)
  const say = (text: string): boolean => process.stderr.write(`${text}\n`)
  const { message, hint, code, stack } = partsOf(error)
  if (error instanceof UsageError) {
    say(`${bold('stillframe:')} ${bad(message)}`)
    if (hint !== undefined) say(hint)
    return 2
  }
  if (error instanceof CommandError) {
    say(`${bold('stillframe:')} ${bad(message)}`)
  } else if (code !== undefined) {
    say(`${bold('stillframe:')} ${bad(message)} ${dim(`(${code})`)}`)
  } else {
    // An error without a code is unexpected, and fixing it takes the stack.
    say(`${bold('stillframe:')} ${stack}`)
  }
  return 1
}

/**
 * The parts of an error, made safe for a terminal: names of files and sections, and arguments, may
 * contain any characters.
 */
function partsOf(
  error: unknown,
): Record<'message' | 'stack', string> & Record<'hint' | 'code', string | undefined> {
  if (!(error instanceof Error)) {
    const text = printableLines(String(error))
    return { message: text, stack: text, hint: undefined, code: undefined }
  }
  const { code } = error as NodeJS.ErrnoException
  const hint = error instanceof UsageError ? error.hint : undefined
  return {
    message: printableLines(error.message),
    stack: printableLines(error.stack ?? error.message),
    hint: hint === undefined ? undefined : printableLines(hint),
    code: typeof code === 'string' ? code : undefined,
  }
}

function describeForJson(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) }
  return { ...error, name: error.name, message: error.message }
}

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return String((manifest as { version: unknown }).version)
}

// A write to a closed pipe also emits 'error'; the callback of the write has already handled it.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

main(process.argv.slice(2)).then(
  (status) => {
    // After a signal the reader of a pipe may never take the rest, so exit. Otherwise only set the
    // status, so that pending output is written.
    if (status > 128) process.exit(status)
    process.exitCode = status
  },
  (error: unknown) => {
    process.exitCode = explain(error)
  },
)
