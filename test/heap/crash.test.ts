/**
 * Promise: whenever the service is killed, or its disk is full, the published name is a complete file, the copy is gone
 * within a second, and the next start leaves no temporary file (I2, I3, I5). Proved by killing a service that saves its
 * state again and again at random moments, and on file systems that are too small.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.js'
import { needsRoot } from '../support/needs.js'
import { childrenOf, hasEnded, runningInSession, waitUntil } from '../support/processes.mjs'
import { seededRandom, testSeed } from '../support/random.mjs'
import { outcomeOf } from '../support/report.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { mountTmpfs, resizeTmpfs } from '../support/tmpfs.js'

const inDirectory = useTemporaryDirectory()
const generations = new URL('fixtures/generations.mjs', import.meta.url)

/** The ways to the published name: a nameless file, and a temporary name that cannot be exchanged. */
const ways = ['', 'o_tmpfile,exchange']
const roundsOfEach = longMode ? 100 : 10
/** Long enough for several jobs of the service. */
const longestMs = 200

for (const way of ways) {
  test(
    `killed at random moments, with ${way === '' ? 'all steps' : `${way} disabled`}`,
    async () => {
      const random = seededRandom(testSeed + ways.indexOf(way))
      let atLeast = 0
      for (let round = 0; round < roundsOfEach; round++) {
        const what = `seed ${testSeed}, round ${round}`
        const service = startFixture(generations, [inDirectory('file')], {
          env: { STILLFRAME_DISABLE: way },
          detached: true,
        })
        const { before, others } = await service.report()
        if (round > 0) expect(before, what).toMatchObject({ found: true, exact: true })
        if (round > 0) expect(before.generation, what).toBeGreaterThanOrEqual(atLeast)
        expect(others, what).toEqual([])

        await new Promise((resolve) => setTimeout(resolve, random() * longestMs))
        service.child.kill('SIGKILL')
        const { signal } = await service.end
        expect(signal, what).toBe('SIGKILL')
        // A second is promised; the rest is for a machine that has other things to do.
        await waitUntil(() => runningInSession(service.pid).length === 0, `the copy is gone (${what})`, 3000)
        // What `done` has confirmed must not be lost.
        while (service.hasReport) atLeast = (await service.report())['generation']
      }
    },
    roundsOfEach * 5000,
  )
}

test('killed while its copy waits in the callback, of which the copy cannot know', async () => {
  const service = startFixture(new URL('fixtures/held.mjs', import.meta.url), [inDirectory('file')], {
    detached: true,
  })
  const { pid } = await service.report()
  service.child.kill('SIGKILL')
  await service.end
  await waitUntil(() => hasEnded(pid), 'the copy is gone', 3000)
  expect(readdirSync(inDirectory())).toEqual([])
})

for (const [kind, job] of Object.entries({
  'of the callback': (path: string) =>
    snapshotState(path, (out) => out.write(new Uint8Array(3 << 20).fill(1))),
  'of V8': (path: string) => writeHeapSnapshot(path),
})) {
  test(`a disk that fills up leaves the older file as it was: output ${kind}`, async (context) => {
    needsRoot(context, 'to mount file systems')
    const disk = inDirectory('disk')
    mountTmpfs(disk, 1 << 20)
    await snapshotState(`${disk}/file`, (out) => out.write('old')).done
    for (const bytes of [8 << 10, 64 << 10, 1 << 20, 2 << 20]) {
      resizeTmpfs(disk, bytes)
      const outcome = await outcomeOf((async () => await job(`${disk}/file`).done)())
      expect(outcome, `${bytes}`).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_NO_SPACE' })
      expect(readFileSync(`${disk}/file`, 'utf8'), `${bytes}`).toBe('old')
      expect(readdirSync(disk), `${bytes}`).toEqual(['file'])
      expect(childrenOf(process.pid), `${bytes}`).toEqual([])
    }
    resizeTmpfs(disk, 1 << 30)
    expect(await job(`${disk}/file`).done).toMatchObject({ attempts: 1 })
  })
}
