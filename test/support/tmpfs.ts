/**
 * In-memory filesystems of a chosen size. Mounted below a test's temporary directory, they are
 * removed with it.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'

/** Mounts a tmpfs at `path`, creating the directory if necessary. Needs root. */
export function mountTmpfs(path: string, bytes: number): void {
  mkdirSync(path, { recursive: true })
  run('mount', '-t', 'tmpfs', '-o', `size=${bytes},mode=755`, 'stillframe-test', path)
}

/** Changes the size of a mounted tmpfs. */
export function resizeTmpfs(path: string, bytes: number): void {
  run('mount', '-o', `remount,size=${bytes}`, path)
}

function run(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${stderr}`)
}
