/** Libraries in C that a fixture preloads, to stand for what other native code does in a host. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/**
 * Compiles one file to a shared library.
 *
 * @param output - path of the library.
 */
export function compileLibrary(source: URL, output: string): void {
  const args = [
    '-shared',
    '-fPIC',
    '-O1',
    '-Wall',
    '-Werror',
    '-pthread',
    '-o',
    output,
    fileURLToPath(source),
  ]
  const { status, stderr } = spawnSync('cc', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`cc failed: ${stderr}`)
}
