/**
 * The command line's outputs. Results go to stdout: as text, or with `--json` as exactly one
 * document. Everything else (remarks, progress, errors) goes to stderr, so that a pipe only ever
 * carries results.
 */

import process from 'node:process'
import { printableLines } from '../base/printable.js'
import { type ProgressBar, type StepBar, startProgressBar, startStepBar } from './progress.js'

/** Anything that JSON can say. `undefined` members are left out, as JSON.stringify does. */
export type JsonDocument = Readonly<Record<string, unknown>>

/** Colours for a terminal that has them; the identity everywhere else. */
export interface Style {
  bold(text: string): string
  dim(text: string): string
  good(text: string): string
  bad(text: string): string
  warn(text: string): string
}

/** What a command gets to talk to its user. */
export interface Io {
  /** `--json` was given: `report` prints the document, not the lines. */
  readonly json: boolean
  /** Aborted by Ctrl-C and SIGTERM; the reason is an {@link Interrupted}. */
  readonly signal: AbortSignal
  readonly style: Style
  /** Columns to wrap paragraphs at. */
  readonly width: number
  /** Columns that a table has; without a terminal as many as it wants. */
  readonly tableWidth: number
  /** Lines of the result that are known early; nothing with `--json`. */
  print(lines: readonly string[]): Promise<void>
  /** The command's result, in the form that was asked for. Called once. */
  report(document: JsonDocument, lines: readonly string[]): Promise<void>
  /** Lines on stderr, for people. */
  remark(lines: readonly string[]): void
  /** A progress bar on stderr; draws nothing unless stderr is a terminal. */
  progress(label: string, bytesTotal?: number): ProgressBar
  /** The same for work that is counted in frames. */
  steps(label: string): StepBar
}

/** The reason of `Io.signal` when a signal asks the process to end. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
  readonly exitStatus: number

  constructor(signalName: string, signalNumber: number) {
    super(`interrupted by ${signalName}`)
    this.exitStatus = 128 + signalNumber
  }
}

/** Builds the outputs of one command. */
export function createIo(json: boolean, signal: AbortSignal): Io {
  return {
    json,
    signal,
    style: styleFor(process.stdout),
    width: Math.min(process.stdout.columns ?? 100, 110),
    tableWidth: process.stdout.columns ?? Number.POSITIVE_INFINITY,
    print: (lines) => (json ? Promise.resolve() : writeText(`${lines.join('\n')}\n`)),
    report: (document, lines) =>
      writeText(
        // JSON leaves characters as they are that a terminal obeys: people read it, too.
        json ? `${printableLines(JSON.stringify(document, undefined, 2))}\n` : `${lines.join('\n')}\n`,
      ),
    remark: (lines) => {
      process.stderr.write(`${lines.join('\n')}\n`)
    },
    progress: (label, bytesTotal = 0) => startProgressBar(label, bytesTotal),
    steps: (label) => startStepBar(label),
  }
}

/**
 * Writes to stdout and waits until it is out. A reader that has gone away (`stillframe … | head`)
 * is no failure: it has seen what it wanted.
 */
export function writeText(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error && !isBrokenPipe(error)) reject(error)
      else resolve()
    })
  })
}

/** The other end of a pipe was closed. */
export function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE'
}

/** The colours of `stream`. `hasColors` also knows NO_COLOR, FORCE_COLOR and TERM=dumb. */
export function styleFor(stream: NodeJS.WriteStream): Style {
  const coloured = stream.isTTY && stream.hasColors()
  const paint = (open: number, close: number) => (text: string) =>
    coloured ? `\u001b[${open}m${text}\u001b[${close}m` : text
  return {
    bold: paint(1, 22),
    dim: paint(2, 22),
    good: paint(32, 39),
    bad: paint(31, 39),
    warn: paint(33, 39),
  }
}
