/**
 * Starts the programs of these tests, each with one case and one engine, if the machine has that
 * engine.
 */

import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll } from 'vitest'
import { compileLibrary, compileProgram } from '../support/compile.js'
import { type Fixture, type FixtureOptions, startFixture } from '../support/fixture.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

let tools = ''

/** Compiles the tools of the programs before the tests of the file. */
export function useTools(): void {
  tools = sharedTemporaryDirectory()
  chmodSync(tools, 0o755)
  beforeAll(() => {
    const source = new URL('fixtures/native_host.c', import.meta.url)
    compileLibrary(source, join(tools, 'native_host.node'))
    compileProgram(new URL('fixtures/hold.c', import.meta.url), join(tools, 'hold'))
  })
}

/** Path of a tool that {@link useTools} has compiled. */
export function toolPath(name: string): string {
  return join(tools, name)
}

/** Starts `fixtures/<program>.mjs` with these arguments. */
export function startProgram(
  program: string,
  args: readonly (string | number)[],
  options: FixtureOptions = {},
): Fixture {
  const { env = {}, nodeOptions = [], ...rest } = options
  return startFixture(new URL(`fixtures/${program}.mjs`, import.meta.url), args.map(String), {
    ...rest,
    nodeOptions: ['--expose-gc', ...nodeOptions],
    env: { STILLFRAME_TEST_TOOLS: tools, ...env },
  })
}
