/**
 * What the tests of captures and those of jobs expect of a service that ends, is killed, or has no
 * descriptors left, while a copy of it is at work. `kind` is what the copy is made by.
 */

import { readdirSync } from 'node:fs'
import { expect } from 'vitest'
import { type FixtureEnd, startFixture } from './fixture.js'
import { longMode } from './long-mode.mjs'
import { bind } from './port.js'
import { hasEnded, runningInSession, waitUntil } from './processes.mjs'
import { seededRandom, testSeed } from './random.mjs'

type Kind = 'snapshot' | 'job'

/** How each way of ending is seen from outside. */
export const waysToEnd: Record<string, Partial<FixtureEnd>> = {
  exit: { status: 7, signal: null },
  throw: { status: 1, signal: null },
  signal: { status: null, signal: 'SIGTERM' },
  handled: { status: 9, signal: null },
}

const moments = longMode ? 50 : 3

/** Time limit of a test with one call of {@link endAtManyMoments}, in milliseconds. */
export const endingTakesMs = 300_000 + moments * 20_000

/**
 * Ends services while a copy is held, at once, and at random moments up to `latestMs`: each ends as
 * without us, and its copy with it. Calls `look()` after each.
 */
export async function endAtManyMoments(
  kind: Kind,
  file: string,
  way: string,
  by: string,
  latestMs: number,
  look: (what: string) => Promise<void> | void = () => {},
): Promise<void> {
  const random = seededRandom(testSeed)
  const delays = Array.from({ length: moments }, () => String(Math.floor(random() * latestMs)))
  for (const when of ['held', '0', ...delays]) {
    const what = `at ${when}, seed ${testSeed}`
    const fixture = new URL('fixtures/exits.mjs', import.meta.url)
    const service = startFixture(fixture, [kind, file, way, when, by], { detached: true })
    expect(await service.report(), what).toEqual({ ends: way })
    const { status, signal, stderr } = await service.end
    expect({ status, signal }, what).toEqual(waysToEnd[way])
    if (way === 'throw') expect(stderr, what).toContain('nobody catches this')
    else expect(stderr, what).toBe('')
    await waitUntil(() => runningInSession(service.pid).length === 0, `the copy is gone (${what})`, 3000)
    await look(what)
  }
}

export const sockets = new URL('fixtures/sockets.mjs', import.meta.url)

/** Kills services that listen on a port: it can be bound again at once. */
export async function expectFreePortAfterKill(kind: Kind, file: string): Promise<void> {
  for (let round = 0; round < 5; round++) {
    const service = startFixture(sockets, [kind, file])
    const { port, pid } = await service.report()
    service.child.kill('SIGKILL')
    await service.end
    await bind(port)
    await waitUntil(() => hasEnded(pid), 'the copy is gone')
  }
}

/**
 * Tries with no free descriptor, with one, and so on, until it works: nothing is left behind, and
 * each failure is one that `expectFailure` accepts. Needs the tool prlimit.
 */
export async function tryWithFewDescriptors(
  kind: Kind,
  inDirectory: (name?: string) => string,
  expectFailure: (outcome: Record<string, unknown>, what: string) => void,
): Promise<void> {
  const fixture = startFixture(
    new URL('fixtures/no-descriptors.mjs', import.meta.url),
    [kind, inDirectory('file')],
    { wrapper: ['prlimit', '--nofile=200:200'] },
  )
  const seen: number[] = []
  for (;;) {
    const { free, outcome, before, after, intact } = await fixture.report()
    const what = `with ${free} free descriptors`
    if (!outcome.ok) expectFailure(outcome, what)
    expect({ ...after, mappings: 0 }, what).toEqual({ ...before, mappings: 0 })
    expect(intact, what).toBe(true)
    expect(readdirSync(inDirectory()), what).toEqual(['file'])
    seen.push(free)
    if (outcome.ok) break
  }
  // Several descriptors are needed. If the first attempt succeeded, the test would prove nothing.
  expect(seen.length).toBeGreaterThan(4)
  expect(await fixture.end).toMatchObject({ status: 0 })
}
