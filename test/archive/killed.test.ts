/**
 * Promise: after a kill at any system call of a capture, a compaction or a prune, an archive lists
 * every frame that was reported complete and was not being pruned; each frame is whole and has the
 * memory and objects of its instant, no unfinished frame is listed, and the next writer removes the
 * leftovers. Proved with strace, which kills a service at the N-th of each call, and with the next
 * writer.
 */

import { expect, test } from 'vitest'
import { nextToFail } from '../support/faults.mjs'
import { startFixture } from '../support/fixture.js'
import { needsStrace } from '../support/needs.js'
import { runningInSession, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { checkAfterCrash, type Told } from './after-crash.js'

const inDirectory = useTemporaryDirectory()
const turns = new URL('fixtures/turns.mjs', import.meta.url)

/** Calls that change files and names. The service is killed before the call has any effect. */
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

async function runUntilKilled(call: string, nth: number): Promise<Told> {
  const fixture = startFixture(turns, [inDirectory('archive')], {
    // strace counts calls per thread, and several threads would split the count.
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
    // The test has one directory, and each iteration an archive of its own in it.
    let killed = 0
    for (let nth = 1; ; nth = nextToFail(nth, true, 1)) {
      const what = `${call} ${nth}`
      const told = await runUntilKilled(call, nth)
      await checkAfterCrash(inDirectory('archive'), told, what)
      if (told.end) break
      killed++
    }
    if (['pwrite64', 'fsync', 'rename', 'unlink'].includes(call)) expect(killed).toBeGreaterThan(2)
  }, 900_000)
