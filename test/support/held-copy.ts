/** Holds the forked copies of a service while they are at work, on a machine of any speed. */

import type { TestContext } from 'vitest'
import { compileLibrary } from './compile.js'
import type { FixtureOptions } from './fixture.js'
import { needsTools } from './needs.js'
import { childrenOf, nameOf, stateOf, waitUntil } from './processes.mjs'

/**
 * Options for a fixture whose first copies stop themselves; see held_copy.c. SIGCONT lets a copy
 * continue.
 *
 * @param library - path of the library to compile.
 * @param after - how far they get before: the start, or a summary.
 */
export function holdCopies(
  context: TestContext,
  library: string,
  copies = 1,
  after: 'start' | 'summary' = 'start',
): Required<Pick<FixtureOptions, 'preload' | 'env'>> {
  needsTools(context, 'cc')
  compileLibrary(new URL('fixtures/held_copy.c', import.meta.url), library)
  return { preload: library, env: { HELD_COPIES: String(copies), HELD_AFTER: after } }
}

/** Waits for the copy of a service that is held. */
export async function heldCopyOf(service: number): Promise<number> {
  const held = (): number | undefined =>
    childrenOf(service).find((pid) => stateOf(pid) === 'T' && nameOf(pid) === 'stillframe')
  await waitUntil(() => held() !== undefined, 'a copy is held')
  return held() as number
}
