/** A place for the files of a test. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

/** A directory that is gone after the test file. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'stillframe-test-'))
  afterAll(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}
