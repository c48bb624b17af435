/** Kills a service at random moments and lets its successor report what it left. */

import { expect } from 'vitest'
import type { Fixture } from './fixture.js'
import { isOfOpenFile } from './hidden-files.mjs'
import { runningInSession, waitUntil } from './processes.mjs'
import { seededRandom, testSeed } from './random.mjs'

export interface Kills {
  rounds: number
  /** Maximum time that a service keeps running once it has saved its first generation. */
  longestMs: number
  /** Gives each of several tests with one seed its own random moments. */
  index: number
}

/**
 * Checks in each round that a whole generation is under the published name, that no confirmed
 * generation is lost, that no other file is next to it, and that the forked copy ends with the
 * service.
 *
 * @param start - a fixture that calls saveGenerations(), always with the same path. It leads a
 *   session of its own.
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
    // FUSE's remains of a removed file disappear when the kernel has closed it.
    expect(
      others.filter((name: string) => !isOfOpenFile(name)),
      what,
    ).toEqual([])

    await new Promise((resolve) => setTimeout(resolve, random() * longestMs))
    service.child.kill('SIGKILL')
    const { signal } = await service.end
    expect(signal, what).toBe('SIGKILL')
    // One second is promised; the rest of the limit is for a busy machine.
    await waitUntil(() => runningInSession(service.pid).length === 0, `its copy is gone (${what})`)
    // Generations that `done` has confirmed must not be lost.
    while (service.hasReport) atLeast = (await service.report())['generation']
  }
}
