/**
 * Promise: the crash reporter that is commonly installed from npm (segfault-handler) is not called
 * for our faults, receives all others, and the process dies as it would without us. Proved with
 * that package, loaded before and after our handler.
 */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { describe, expect, type TestContext, test } from 'vitest'
import { needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { signalVariants } from '../support/variants.mjs'
import { startProgram } from './programs.js'

const inDirectory = useTemporaryDirectory()
const home = 'build-aside/segfault-handler'
const module = fileURLToPath(new URL(`../../${home}/node_modules/segfault-handler`, import.meta.url))

/** The package is compiled for one version of Node, and must not break `npm ci` on another. */
function needsReporter(context: TestContext): void {
  try {
    createRequire(import.meta.url)(module)
  } catch {
    context.skip(
      `needs the package, built for this Node: npm install --prefix ${home} segfault-handler@1.3.0`,
    )
  }
}

async function endOf(variant: string, order: string) {
  const log = inDirectory(`${variant}.log`)
  const program = startProgram('crash-reporter', [variant, inDirectory('file'), order, log, module])
  expect(await program.report()).toEqual({ logged: false })
  const timer = setTimeout(() => program.child.kill('SIGKILL'), 280_000)
  const { status, signal } = await program.end
  clearTimeout(timer)
  return {
    status,
    signal,
    log: /SIGSEGV for address: 0x1\b/.test(readFileSync(log, 'utf8')),
  }
}

describe.each(signalVariants)('%s', (variant) => {
  test.for(['before', 'after'])('with segfault-handler loaded %s us', async (order, context) => {
    needsReporter(context)
    needsVariant(context, variant)
    const usual = await endOf('none', order)
    expect(usual).toEqual({ status: null, signal: 'SIGSEGV', log: true })
    expect(await endOf(variant, order)).toEqual(usual)
  })
})
