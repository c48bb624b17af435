/** What a test needs of the machine, and the reason that is printed when it is missing. */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { TestContext } from 'vitest'

/** Skips the test, with a reason, unless it runs as root. */
export function needsRoot(context: TestContext, why: string): void {
  if (process.getuid?.() !== 0) context.skip(`needs root: ${why}`)
}

/** Skips the test, with a reason, unless all of these programs are installed. */
export function needsTools(context: TestContext, ...tools: string[]): void {
  const missing = tools.filter((tool) => spawnSync('which', [tool]).status !== 0)
  if (missing.length > 0) context.skip(`needs ${missing.join(', ')}, which is not installed`)
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
