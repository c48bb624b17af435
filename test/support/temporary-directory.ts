/** Directories for the files of tests, removed afterwards. */

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { afterAll, afterEach, beforeEach } from 'vitest'
import { clearFixtures } from './fixture.js'
import { isOfOpenFile, stillOpenPrefix } from './hidden-files.mjs'
import { openToOthers } from './modes.js'

/**
 * Makes a directory before each test of the file, and unmounts and removes its contents afterwards.
 * This includes everything that the test and its fixtures put into the system's temporary
 * directory, since fixtures are killed and cannot clean up.
 *
 * @returns the path of `name` in the directory of the running test; without a name, the directory
 *   itself.
 */
export function useTemporaryDirectory(): (name?: string) => string {
  let outer = ''
  const usual = process.env['TMPDIR']
  beforeEach(() => {
    outer = mkdtempSync(join(tmpdir(), 'stillframe-test-'))
    openToOthers(outer, 0o755)
    mkdirSync(join(outer, 'files'))
    mkdirSync(join(outer, 'tmp'))
    openToOthers(join(outer, 'tmp'), 0o1777)
    process.env['TMPDIR'] = join(outer, 'tmp')
  })
  afterEach(async () => {
    await clearFixtures()
    if (usual === undefined) delete process.env['TMPDIR']
    else process.env['TMPDIR'] = usual
    unmountBelow(outer)
    removeDirectory(outer)
  })
  return (name = '') => join(outer, 'files', name)
}

/**
 * A directory shared by all tests of the file, for files that one of them, or a hook before them,
 * makes.
 */
export function sharedTemporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'stillframe-test-'))
  afterAll(() => removeDirectory(directory))
  return directory
}

function removeDirectory(directory: string): void {
  try {
    // A copy whose fixture was killed by a failed test may still be writing.
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  } catch (error) {
    const left = readdirSync(directory, { recursive: true, withFileTypes: true })
    if (!left.every((entry) => entry.isDirectory() || isOfOpenFile(entry.name))) throw error
    renameSync(directory, join(dirname(directory), `${stillOpenPrefix}${basename(directory)}`))
  }
}

/**
 * The names in a directory as a user sees them, without files that are removed but still open in a
 * process.
 */
export function namesIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => !isOfOpenFile(name))
    .sort()
}

/** The temporary files of captures in a directory, recognized by their documented names. */
export function temporaryFilesIn(directory: string): string[] {
  return readdirSync(directory).filter((name) => /^\.stillframe-.*\.tmp$/.test(name))
}

function unmountBelow(directory: string): void {
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n').reverse()) {
    const [, mounted = ''] = line.split(' ')
    if (mounted.startsWith(`${directory}/`)) spawnSync('umount', ['--lazy', mounted])
  }
}
