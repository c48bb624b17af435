/**
 * Promise: killed at any system call of a capture, a compaction or a prune, an archive lists every frame that was told complete
 * and not being given up; each is whole and has the memory and objects of its instant, nothing half-made is listed, and the next
 * writer removes what was left. Proved with strace, which kills a service at the N-th of each call, and with the next one.
 */

import { readdirSync, rmSync } from 'node:fs'
import { openArchive } from 'stillframe/archive'
import { expect, test } from 'vitest'
import { nextToFail } from '../support/faults.mjs'
import { startFixture } from '../support/fixture.js'
import { needsStrace } from '../support/needs.js'
import { runningInSession, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { fillFrame } from './fixtures/frame-memory.mjs'
import { listOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const turns = new URL('fixtures/turns.mjs', import.meta.url)

/** What changes files and names. Killed before the call has any effect. */
const calls = [
  'pwrite64',
  'fsync',
  'linkat',
  'renameat2',
  'rename',
  'unlink',
  'unlinkat',
  'ftruncate',
  'flock',
]

interface Told {
  /** Seeds of frames by id. */
  complete: Map<string, number>
  givingUp: Set<string>
  end: boolean
}

async function runUntilKilled(call: string, nth: number): Promise<Told> {
  const fixture = startFixture(turns, [inDirectory('archive')], {
    // strace counts the calls of each thread by itself, and several would share them out.
    env: { STILLFRAME_DISABLE: 'helpers,bounded_park', UV_THREADPOOL_SIZE: '1' },
    wrapper: [
      ...['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`],
      ...['-e', `inject=${call}:signal=SIGKILL:when=${nth}`],
    ],
    detached: true,
  })
  const told: Told = { complete: new Map(), givingUp: new Set(), end: false }
  for (;;) {
    const report = await fixture.report().catch(() => undefined)
    if (report === undefined) break
    if (typeof report['complete'] === 'string')
      told.complete.set(report['complete'], report['seed'] as number)
    for (const id of (report['givingUp'] ?? []) as string[]) told.givingUp.add(id)
    told.end ||= report['end'] === true
  }
  await fixture.end
  await waitUntil(() => runningInSession(fixture.pid).length === 0, `the copies are gone (${call} ${nth})`)
  return told
}

for (const call of calls)
  test(`killed at ${call}`, async (context) => {
    needsStrace(context)
    // The test has a directory of its own, and each moment an archive of its own in it.
    let killed = 0
    for (let nth = 1; ; nth = nextToFail(nth, false, 1)) {
      const what = `${call} ${nth}`
      const told = await runUntilKilled(call, nth)
      await check(told, what)
      if (told.end) break
      killed++
    }
    if (['pwrite64', 'fsync', 'rename', 'unlink'].includes(call)) expect(killed).toBeGreaterThan(5)
  }, 900_000)

async function check(told: Told, what: string): Promise<void> {
  const place = inDirectory('archive')
  // A reader comes first, while everything is as the dead writer has left it.
  if (readdirSync(inDirectory()).includes('archive') && readdirSync(place).includes('archive.json')) {
    const reader = await openArchive(place, { readOnly: true })
    await checkFrames(reader, told, `${what}, read only`)
    await reader.close()
  }
  const archive = await openArchive(place)
  await checkFrames(archive, told, what)
  const listed = await listOf(archive)
  const next = Math.max(0, ...listed.map(({ number }) => number)) + 1
  const region = new ArrayBuffer(128 * 1024)
  fillFrame(region, 1)
  await archive.capture(region, { metadata: 1, full: true }).done
  const [last] = (await listOf(archive)).slice(-1)
  expect(last?.number, what).toBeGreaterThanOrEqual(next)
  await archive.prune({ retention: { last: 1 } })
  await archive.close()
  const left = readdirSync(place).filter((name) => !name.startsWith(String(last?.number).padStart(10, '0')))
  expect(left, what).toEqual(['archive.json', 'writer.lock'])
  rmSync(place, { recursive: true })
}

async function checkFrames(
  archive: Awaited<ReturnType<typeof openArchive>>,
  told: Told,
  what: string,
): Promise<void> {
  const listed = await listOf(archive)
  const ids = listed.map(({ id }) => id)
  for (const id of told.complete.keys()) {
    if (!told.givingUp.has(id)) expect(ids, `${what}: ${id} was told complete`).toContain(id)
  }
  // At most one more, whose end nobody could be told of.
  expect(ids.filter((id) => !told.complete.has(id)).length, what).toBeLessThanOrEqual(1)
  for (const { id } of listed) {
    const restored = await archive.restore<number>({ id })
    const seed = restored.metadata as number
    if (told.complete.has(id)) expect(seed, what).toBe(told.complete.get(id))
    const expected = fillFrame(new ArrayBuffer(128 * 1024), seed)
    expect(
      Buffer.compare(new Uint8Array(restored.regions['main']?.buffer as ArrayBuffer), expected),
      what,
    ).toBe(0)
    const objects: unknown[] = []
    for await (const value of restored.state()) objects.push(value)
    expect(objects, what).toEqual(seed % 3 === 0 ? [{ turn: seed }] : [])
    restored.close()
  }
}
