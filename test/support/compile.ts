/**
 * Compiles C code for fixtures: programs, and preloaded libraries that simulate other native code
 * in a host.
 */

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

/** Compiles a C program of one file. */
export function compileProgram(source: URL, output: string): void {
  const args = ['-O1', '-Wall', '-Werror', '-o', output, fileURLToPath(source)]
  const { status, stderr } = spawnSync('cc', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`cc failed: ${stderr}`)
}
