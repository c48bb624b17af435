/** A directory of its own for each test, removed afterwards with what was mounted in it. */

import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach } from 'vitest'

/**
 * Makes a directory before and removes it after each test of the file.
 *
 * @returns the path of `name` in the directory of the test that is running; of the directory without one.
 */
export function useTemporaryDirectory(): (name?: string) => string {
  let directory = ''
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'stillframe-test-'))
    chmodSync(directory, 0o755)
  })
  afterEach(() => {
    unmountBelow(directory)
    // A fixture that a failed test left behind may still be writing.
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  })
  return (name = '') => join(directory, name)
}

/** The temporary files of captures in a directory, under the names that are documented for them. */
export function temporaryFilesIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => /^\.stillframe-.*\.tmp$/.test(name))
}

function unmountBelow(directory: string): void {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n').reverse()) {
    const [, mounted = ''] = line.split(' ')
    if (mounted.startsWith(`${directory}/`)) spawnSync('umount', ['--lazy', mounted])
  }
}
