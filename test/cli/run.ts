/**
 * Runs the built command line as a user does: as a process of its own, with pipes for stdout and
 * stderr.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** The built command line. */
export const mainPath = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

if (!existsSync(mainPath)) throw new Error(`${mainPath} is missing: run 'npm run build:ts' first`)

/** Result of a process. */
export interface Outcome {
  /** Exit status; null if a signal ended the process. */
  status: number | null
  signal: NodeJS.Signals | null
  stdout: Buffer
  stderr: string
}

/** Options of {@link run}. */
export interface RunOptions {
  cwd?: string
  env?: Record<string, string>
  /** Called as soon as the process runs, for signals and closed pipes. */
  meanwhile?: (child: ChildProcess) => void
}

/** Runs `stillframe ...args` until it exits. */
export function run(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [mainPath, ...args], {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
    child.once('error', reject)
    child.once('close', (status, signal) => {
      resolve({ status, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() })
    })
    options.meanwhile?.(child)
  })
}

/** Runs a command with `--json` and parses stdout, which must be exactly one document. */
export async function runJson(
  args: readonly string[],
  options: RunOptions = {},
): Promise<Outcome & { json: Json }> {
  const outcome = await run([...args, '--json'], options)
  return { ...outcome, json: JSON.parse(outcome.stdout.toString()) as Json }
}

/** A parsed document whose members tests access freely. */
export interface Json {
  [key: string]: JsonMember
}
type JsonMember = string & number & boolean & Json & Json[]
