/** Kills a service at random moments, and has its successor look at what it has left. */

import { expect } from 'vitest'
import type { Fixture } from './fixture.js'
import { isOfOpenFile } from './hidden-files.mjs'
import { runningInSession, waitUntil } from './processes.mjs'
import { seededRandom, testSeed } from './random.mjs'

export interface Kills {
  rounds: number
  /** The longest that a service is left alone once it has saved its first generation. */
  longestMs: number
  /** Tells apart the moments of several tests of one seed. */
  index: number
}

/**
 * Promised in each round: under the published name is a whole generation, none that was confirmed is lost, nothing lies
 * beside it, and the forked copy goes with the service.
 *
 * @param start - a fixture that calls saveGenerations(), always with the same path. It leads a session of its own.
 */
export async function killAtRandomMoments(
  start: () => Fixture,
  { rounds, longestMs, index }: Kills,
): Promise<void> {
  const random = seededRandom(testSeed + index)
  let atLeast = 0
  for (let round = 0; round < rounds; round++) {
    const what = `seed ${testSeed}, round ${round}`
    const service = start()
    const { before, others } = await service.report()
    if (round > 0) expect(before, what).toMatchObject({ found: true, exact: true })
    if (round > 0) expect(before.generation, what).toBeGreaterThanOrEqual(atLeast)
    // What FUSE still has of a file that was removed goes when the kernel has closed it.
    expect(
      others.filter((name: string) => !isOfOpenFile(name)),
      what,
    ).toEqual([])

    await new Promise((resolve) => setTimeout(resolve, random() * longestMs))
    service.child.kill('SIGKILL')
    const { signal } = await service.end
    expect(signal, what).toBe('SIGKILL')
    // A second is promised; the rest is for a machine that has other things to do.
    await waitUntil(() => runningInSession(service.pid).length === 0, `its copy is gone (${what})`)
    // What `done` has confirmed must not be lost.
    while (service.hasReport) atLeast = (await service.report())['generation']
  }
}
