/**
 * The command line's output. Results go to stdout, as text or (with `--json`) as exactly one
 * document. Everything else (remarks, progress, errors) goes to stderr, so that a pipe carries only
 * results.
 */

import process from 'node:process'
import { printableLines } from '../base/printable.js'
import { type ProgressBar, type StepBar, startProgressBar, startStepBar } from './progress.js'

/** Any value that JSON can express. `undefined` members are left out, as in JSON.stringify. */
export type JsonDocument = Readonly<Record<string, unknown>>

/** Colors for a terminal that supports them; identity functions otherwise. */
export interface Style {
  bold(text: string): string
  dim(text: string): string
  good(text: string): string
  bad(text: string): string
  warn(text: string): string
}

/** The interface between a command and its user. */
export interface Io {
  /** True with `--json`: `report` prints the document, not the lines. */
  readonly json: boolean
  /** Aborted by SIGINT (Ctrl-C), SIGTERM and SIGHUP; the reason is an {@link Interrupted}. */
  readonly signal: AbortSignal
  readonly style: Style
  /** Columns at which paragraphs are wrapped. */
  readonly width: number
  /** Columns available to a table; unlimited without a terminal. */
  readonly tableWidth: number
  /** Prints lines of the result that are known early; does nothing with `--json`. */
  print(lines: readonly string[]): Promise<void>
  /** Prints the command's result in the requested form. Called once. */
  report(document: JsonDocument, lines: readonly string[]): Promise<void>
  /** Prints lines for people on stderr. */
  remark(lines: readonly string[]): void
  /** A progress bar on stderr; draws nothing unless stderr is a terminal. */
  progress(label: string, bytesTotal?: number): ProgressBar
  /** The same for work that is counted in frames. */
  steps(label: string): StepBar
}

/** The reason of `Io.signal` when a signal asks the process to exit. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
  readonly exitStatus: number

  constructor(signalName: string, signalNumber: number) {
    super(`interrupted by ${signalName}`)
    this.exitStatus = 128 + signalNumber
  }
}

/** Creates the output of one command. */
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
        // JSON does not escape all terminal control characters, and people read it, too.
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
 * Writes to stdout and waits until the text is out. A reader that closes the pipe early
 * (`stillframe … | head`) is not an error: it has seen what it wanted.
 */
export function writeText(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error && !isBrokenPipe(error)) reject(error)
      else resolve()
    })
  })
}

/** True if the other end of a pipe was closed. */
export function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EPIPE'
}

/** The colors of `stream`. `hasColors` also respects NO_COLOR, FORCE_COLOR and TERM=dumb. */
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
