/**
 * Promise: killed at any system call that writes or publishes, in the child or in the service, the published name is
 * the complete older or the complete new snapshot (T5). Proved with strace, which kills whoever makes the N-th call.
 */

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { inspect, snapshot, verify } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { needsTools } from '../support/needs.js'
import { runningInSession, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const oneSnapshot = new URL('fixtures/one-snapshot.mjs', import.meta.url)

/** Calls that Node does not make itself, so that the N-th is ours. Killed before it has any effect. */
const moments = [
  { call: 'close_range', times: 3, who: 'the child', content: 'data' },
  { call: 'pwrite64', times: 3, who: 'the child', content: 'data' },
  { call: 'pwrite64', times: 2, who: 'the service', content: 'zeros' },
  { call: 'fsync', times: 2, who: 'the service', content: 'data' },
  { call: 'linkat', times: 2, who: 'the service', content: 'data' },
  { call: 'renameat2', times: 2, who: 'the service', content: 'data' },
  { call: 'unlinkat', times: 1, who: 'the service', content: 'data' },
]

for (const disabled of ['', 'o_tmpfile', 'exchange', 'o_tmpfile,exchange']) {
  describe(disabled === '' ? 'with all steps' : `with ${disabled} disabled`, () => {
    for (const { call, times, who, content } of moments) {
      test(`killed at ${call}: ${who}`, async (context) => {
        needsTools(context, 'strace')
        if (spawnSync('strace', ['-f', 'true']).status !== 0)
          context.skip('strace is not allowed to trace here')
        let killed = 0
        for (let nth = 1; nth <= times; nth++) {
          const what = `${call} ${nth}`
          await snapshot(new Uint8Array(10), inDirectory('file'), { metadata: 'old' }).done
          const fixture = startFixture(oneSnapshot, [inDirectory('file'), content], {
            env: { STILLFRAME_DISABLE: disabled },
            wrapper: [
              ...['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`],
              ...['-e', `inject=${call}:signal=SIGKILL:when=${nth}`],
            ],
            detached: true,
          })
          const outcome = await fixture.report().catch(() => undefined)
          await fixture.end
          await waitUntil(
            () => runningInSession(fixture.pid).length === 0,
            `the child is gone (${what})`,
            3000,
          )

          // What the service has been told is what is in the file.
          const { metadata } = await inspect(inDirectory('file'))
          if (outcome === undefined) expect(['old', 'new'], what).toContain(metadata)
          else expect(metadata, what).toBe(outcome['ok'] ? 'new' : 'old')
          if (who === 'the child') expect(outcome, what).toMatchObject({ code: 'ERR_STILLFRAME_CHILD_DIED' })
          if (outcome === undefined || !outcome['ok']) killed++
          expect(await verify(inDirectory('file')), what).toMatchObject({ ok: true })
          await snapshot(new Uint8Array(10), inDirectory('file')).done
          expect(readdirSync(inDirectory()), what).toEqual(['file'])
        }
        // Not every way to the name makes each call; those for the data are always made.
        if (['close_range', 'pwrite64', 'fsync'].includes(call)) expect(killed).toBe(times)
      })
    }
  })
}
