/**
 * Promise: the contents of a region are in no core dump of the service, neither from the region
 * itself nor from data that a capture or a restore derives from it. Proved by searching the cores
 * of services that die in the middle.
 */

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, type TestContext, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { needsTools, needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { allVariants } from '../support/variants.mjs'

const inDirectory = useTemporaryDirectory()

/** Each letter is one too high, so that tests and services do not contain the marker themselves. */
const disguised = 'TFDSFUPGBSFHJPO'
const marker = Buffer.from(disguised).map((letter) => letter - 1)

/**
 * Limit for copies in registers: a core contains the registers of each thread, with the data that
 * it accessed last.
 */
const inRegisters = 20

/** Ends the service with a signal that dumps core, and returns the core. */
async function coreOf(context: TestContext, args: readonly string[]): Promise<Buffer> {
  // If the pattern is a plain name, the kernel writes into the working directory of the service.
  const byKernel = /^[\w%.-]+$/.test(readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim())
  if (!byKernel) needsTools(context, 'gdb')
  const fixture = startFixture(new URL('fixtures/holds-secret.mjs', import.meta.url), [disguised, ...args], {
    cwd: inDirectory(),
    wrapper: byKernel ? ['sh', '-c', 'ulimit -c unlimited; exec "$0" "$@"'] : [],
  })
  await fixture.report()
  if (byKernel) fixture.child.kill('SIGABRT')
  else {
    const dump = ['-p', String(fixture.pid), '-batch', '-ex', `generate-core-file ${inDirectory('core')}`]
    spawnSync('gdb', dump, { stdio: 'ignore' })
    fixture.child.kill('SIGKILL')
  }
  await fixture.end
  const [name] = readdirSync(inDirectory()).filter((file) => file.startsWith('core'))
  if (name === undefined) return context.skip('needs core dumps, and the system writes none')
  return readFileSync(inDirectory(name))
}

function copiesIn(core: Buffer): number {
  let copies = 0
  for (let at = core.indexOf(marker); at !== -1; at = core.indexOf(marker, at + 1)) copies++
  return copies
}

test('a core holds the memory of the service, else the next tests would find nothing', async (context) => {
  expect(copiesIn(await coreOf(context, ['kept']))).toBeGreaterThan(1000)
})

describe.each(allVariants)('%s', (variant) => {
  test.for(['none', 'zstd'])(
    'no page of a region while it is captured, compression %s',
    async (codec, context) => {
      needsVariant(context, variant)
      expect(copiesIn(await coreOf(context, ['captured', variant, codec]))).toBeLessThan(inRegisters)
    },
  )
})

test('no page of a region that was restored by mapping and written to', async (context) => {
  expect(copiesIn(await coreOf(context, ['mapped']))).toBeLessThan(inRegisters)
})
