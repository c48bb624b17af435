#!/usr/bin/env node
/**
 * The `stillframe` command. Finds the command, reads its arguments, runs it, and turns what comes out
 * into an exit status: 0 success, 1 failure, 2 wrong command line, 128 + N ended by signal N.
 */

import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import {
  type Arguments,
  type Command,
  CommandError,
  closestOf,
  parseArguments,
  UsageError,
} from './command.js'
import { demo } from './demo.js'
import { doctor } from './doctor.js'
import { extract } from './extract.js'
import { commandHelp, globalHelp } from './help.js'
import { inspect } from './inspect.js'
import { createIo, Interrupted, isBrokenPipe, styleFor, writeText } from './io.js'
import { verify } from './verify.js'

const commands: readonly Command[] = [demo, inspect, verify, extract, doctor]

async function main(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv
  if (first === undefined) {
    throw new UsageError('no command given', `Commands: ${commandNames()}. Try 'stillframe --help'.`)
  }
  if (first === '--version') return await answer(`${packageVersion()}\n`)
  if (first === '--help' || first === '-h') return await answer(globalHelp(commands, packageVersion()))
  if (first.startsWith('-')) throw new UsageError(`unknown option '${first}'`, "Try 'stillframe --help'.")

  const command = commands.find(({ name }) => name === first)
  if (command === undefined) {
    const closest = closestOf(
      first,
      commands.map(({ name }) => name),
    )
    const hint = closest === undefined ? `Commands: ${commandNames()}.` : `Did you mean '${closest}'?`
    throw new UsageError(`unknown command '${first}'`, `${hint} Try 'stillframe --help'.`)
  }
  const args = parseArguments(command, rest)
  if (args.flag('help')) return await answer(commandHelp(command))
  return await run(command, args)
}

/** Runs a command with signals turned into an abort of its work. */
async function run(command: Command, args: Arguments): Promise<number> {
  const interruption = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(name, () => {
      const reason = new Interrupted(name, constants.signals[name])
      // The first signal lets the work clean up behind itself; a second one means now.
      if (interruption.signal.aborted) process.exit(reason.exitStatus)
      interruption.abort(reason)
    })
  }
  const io = createIo(args.flag('json'), interruption.signal)
  try {
    return await command.run(args, io)
  } catch (error) {
    // What an interrupted operation rejects with is the library's choice; why it ended is known here.
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

/** Tells the user what went wrong; returns the exit status. */
function explain(error: unknown): number {
  // The reader of our output has gone: there is nobody to tell.
  if (isBrokenPipe(error)) return 1
  const { bold, bad, dim } = styleFor(process.stderr)
  const say = (line: string): boolean => process.stderr.write(`${line}\n`)
  if (error instanceof UsageError) {
    say(`${bold('stillframe:')} ${bad(error.message)}`)
    if (error.hint !== undefined) say(error.hint)
    return 2
  }
  if (error instanceof CommandError) {
    say(`${bold('stillframe:')} ${bad(error.message)}`)
  } else if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
    say(`${bold('stillframe:')} ${bad(error.message)} ${dim(`(${error.code})`)}`)
  } else {
    // No code: this is no failure that was foreseen, and whoever mends it needs the stack.
    say(`${bold('stillframe:')} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  }
  return 1
}

function describeForJson(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) }
  return { ...error, name: error.name, message: error.message }
}

function commandNames(): string {
  return commands.map(({ name }) => name).join(', ')
}

function packageVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
  return String((manifest as { version: unknown }).version)
}

// A write to a closed pipe also raises an 'error' event; the write's own callback has dealt with it.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})

main(process.argv.slice(2)).then(
  (status) => {
    // After a signal the reader of a pipe may never take the rest. Otherwise the status is set and not
    // forced: what is still being written gets out.
    if (status > 128) process.exit(status)
    process.exitCode = status
  },
  (error: unknown) => {
    process.exitCode = explain(error)
  },
)
