/**
 * Machine requirements of tests: each helper skips the test and prints the reason if one is not
 * met.
 */

import { spawnSync } from 'node:child_process'
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { TestContext } from 'vitest'
import { hasNamelessFiles, putsBack } from './filesystem.mjs'
import { type Variant, whyNot } from './variants.mjs'

/** Skips the test, with a reason, unless it runs as root. */
export function needsRoot(context: TestContext, why: string): void {
  if (process.getuid?.() !== 0) context.skip(`needs root: ${why}`)
}

/** Skips the test, with the reason, unless this user can use this engine here. */
export function needsVariant(context: TestContext, variant: Variant): void {
  const reason = whyNot(variant)
  if (reason !== undefined) context.skip(`needs ${variant}: ${reason}`)
}

/** Skips the test, with a reason, unless all of these programs are installed. */
export function needsTools(context: TestContext, ...tools: string[]): void {
  const missing = tools.filter((tool) => !isInstalled(tool))
  if (missing.length > 0) context.skip(`needs ${missing.join(', ')}, which is not installed`)
}

/** Skips the test, with a reason, unless strace is installed and allowed to trace. */
export function needsStrace(context: TestContext): void {
  needsTools(context, 'strace')
  if (spawnSync('strace', ['-f', 'true']).status !== 0) context.skip('strace is not allowed to trace here')
}

function isInstalled(tool: string): boolean {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .some((directory) => isAllowed(join(directory, tool), constants.X_OK))
}

/**
 * Skips the test, with a reason, unless this process has CAP_SYS_PTRACE and so may inspect
 * processes that have made themselves undumpable, as the copies do.
 */
export function needsTracing(context: TestContext): void {
  const [, effective = '0'] = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
  const capSysPtrace = 19n
  if (((BigInt(`0x${effective}`) >> capSysPtrace) & 1n) === 0n) {
    context.skip(
      'needs CAP_SYS_PTRACE: to look into a copy, whose memory and descriptors are not for other processes',
    )
  }
}

/** Returns a directory in memory (tmpfs); skips the test, with a reason, if there is none. */
export function needsMemoryDirectory(context: TestContext): string {
  const tmpfs = 0x01021994
  const directory = '/dev/shm'
  if (!isAllowed(directory, constants.W_OK) || statfsSync(directory).type !== tmpfs) {
    context.skip(`needs ${directory} to be a filesystem in memory that may be written to`)
  }
  return directory
}

function isAllowed(path: string, access: number): boolean {
  try {
    accessSync(path, access)
    return true
  } catch {
    return false
  }
}

/** Skips the test, with a reason, unless the command can run this Node and read this checkout. */
export function needsReadableCheckout(context: TestContext, asUser: readonly string[]): void {
  const [command = '', ...args] = asUser
  const here = fileURLToPath(new URL('../../package.json', import.meta.url))
  const read = `require('node:fs').readFileSync(${JSON.stringify(here)})`
  if (spawnSync(command, [...args, process.execPath, '-e', read]).status !== 0) {
    context.skip('needs a checkout and a Node that other users may read')
  }
}

/** Skips the test, with a reason, unless the filesystem of this directory has unnamed files. */
export function needsNamelessFiles(context: TestContext, directory: string): void {
  if (!hasNamelessFiles(directory))
    context.skip('needs files without a name (O_TMPFILE), which this filesystem has not')
}

/**
 * Skips the test, with a reason, unless an older file can be put back there once the new one has
 * its name.
 */
export async function needsOldFileBack(context: TestContext, directory: string): Promise<void> {
  if (await putsBack(directory)) return
  context.skip(
    'needs an exchange of names or hard links to put the older file back, and this filesystem has neither',
  )
}
