/**
 * Promise: whenever the service is killed, or its disk is full, the published name is a complete
 * file, the copy is gone within a second, and the next start leaves no temporary file (I2, I3, I5).
 * Proved by killing, at random moments, a service that saves its state again and again, and on file
 * systems that are too small.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { killAtRandomMoments } from '../support/killed-service.js'
import { longMode } from '../support/long-mode.mjs'
import { needsRoot } from '../support/needs.js'
import { childrenOf, hasEnded, waitUntil } from '../support/processes.mjs'
import { outcomeOf } from '../support/report.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { mountTmpfs, resizeTmpfs } from '../support/tmpfs.js'

const inDirectory = useTemporaryDirectory()
const generations = new URL('fixtures/generations.mjs', import.meta.url)

/**
 * The two ways to publish: from a nameless file, and from a temporary name without an atomic
 * exchange.
 */
const ways = ['', 'o_tmpfile,exchange']
const roundsOfEach = longMode ? 100 : 10
/** Long enough for several jobs of the service. */
const longestMs = 200

for (const [index, way] of ways.entries()) {
  test(
    `killed at random moments, with ${way === '' ? 'all steps' : `${way} disabled`}`,
    async () => {
      const start = () =>
        startFixture(generations, [inDirectory('file')], {
          env: { STILLFRAME_DISABLE: way },
          detached: true,
        })
      await killAtRandomMoments(start, { rounds: roundsOfEach, longestMs, index })
    },
    roundsOfEach * 40_000,
  )
}

test('killed while its copy waits in the callback, of which the copy cannot know', async () => {
  const service = startFixture(
    new URL('../support/fixtures/held.mjs', import.meta.url),
    ['job', inDirectory('file')],
    {
      detached: true,
    },
  )
  const { pid } = await service.report()
  service.child.kill('SIGKILL')
  await service.end
  await waitUntil(() => hasEnded(pid), 'the copy is gone')
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
