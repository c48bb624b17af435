/**
 * The temporary directory of a whole run of the suite. A file left in it at the end is a test's
 * fault: it is reported, and the run fails.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stillOpenPrefix } from './hidden-files.mjs'
import { openToOthers } from './modes.js'

/** Vitest calls it before the first test, and the returned function after the last. */
export default function setup(): () => void {
  const directory = mkdtempSync(join(tmpdir(), 'stillframe-suite-'))
  // Some tests switch to another user.
  openToOthers(directory, 0o755)
  process.env['TMPDIR'] = directory
  // Unlike TMPDIR, which tests change for themselves.
  process.env['STILLFRAME_SUITE_DIRECTORY'] = directory
  return () => {
    stopS3Server()
    // On newer versions of Node, npm keeps compiled code there.
    rmSync(join(directory, 'node-compile-cache'), { recursive: true, force: true })
    for (const name of readdirSync(directory)) {
      if (name.startsWith(stillOpenPrefix)) rmSync(join(directory, name), { recursive: true, force: true })
    }
    const left = readdirSync(directory, { recursive: true })
    rmSync(directory, { recursive: true, force: true })
    if (left.length === 0) return
    console.error(`FAILED: left in the temporary directory by a test: ${left.join(', ')}`)
    // Vitest would print an exception, but the run would still pass.
    process.exitCode = 1
  }
}

/** Directory of the server that tests share; exists once a test has needed the server. */
export function s3ServerDirectory(): string {
  const directory = process.env['STILLFRAME_SUITE_DIRECTORY']
  if (directory === undefined) throw new Error('the suite has no directory')
  return join(directory, 's3-server')
}

function stopS3Server(): void {
  const directory = s3ServerDirectory()
  if (!existsSync(directory)) return
  const script = fileURLToPath(new URL('../../scripts/s3-server.sh', import.meta.url))
  spawnSync(script, ['kill', directory], { stdio: 'inherit' })
  rmSync(directory, { recursive: true, force: true })
}
