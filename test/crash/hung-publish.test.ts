/**
 * Promise: if a disk stops responding while a file is synced or named, the capture ends at the
 * timeout or the abort, and what was given up is not published, then or later (I3, I4). Proved with
 * strace, which keeps the service in that one call for longer than anything waits.
 */

import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { needsOldFileBack, needsStrace } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const hungPublish = new URL('fixtures/hung-publish.mjs', import.meta.url)

/** Longer than the timeout and the grace period after it, but short enough to wait for. */
const longMs = 3500
/**
 * Longer still, since a copy of the heap that a busy machine delays must not be considered stuck
 * and retried before the disk hangs.
 */
const longMsOfState = 6500

/** The call that hangs: on entry, before it has any effect, or on exit, after its effect. */
const hangs = [
  { call: 'fsync', when: 1, at: 'enter', doing: 'bringing the file to the disk' },
  { call: 'linkat', when: 1, at: 'enter', doing: 'giving the file its name' },
  { call: 'renameat2', when: 1, at: 'exit', doing: 'giving the file its name' },
  { call: 'fsync', when: 2, at: 'exit', doing: "bringing the file's name to the disk" },
]

const both = ['stall', 'abort']
const ways = [
  { way: 'fork', disabled: '', of: hangs, ends: both },
  { way: 'mprotect', disabled: '', of: hangs.slice(0, 1), ends: ['stall'] },
  { way: 'fork', disabled: 'o_tmpfile', of: hangs.slice(1, 3), ends: ['stall'] },
  // Nothing could be put back in this case.
  { way: 'fork', disabled: 'o_tmpfile,link,exchange', of: hangs.slice(2, 3), ends: ['stall'] },
  { way: 'state', disabled: '', of: hangs.slice(1, 3), ends: ['stall'] },
]

for (const { way, disabled, of, ends } of ways) {
  describe(`${way}${disabled === '' ? '' : `, ${disabled} disabled`}`, () => {
    for (const { call, when, at, doing } of of) {
      for (const end of ends) {
        test(`${call} ${when} hangs: ${end}`, async (context) => {
          needsStrace(context)
          // The file already has its name by then.
          if (call === 'fsync' && when === 2) await needsOldFileBack(context, inDirectory())
          writeFileSync(inDirectory('file'), 'old')
          const service = startFixture(hungPublish, [inDirectory('file'), way, end], {
            // Waits for V8's threads, so that a busy machine does not refuse the copy.
            env: { STILLFRAME_DISABLE: way === 'state' ? 'bounded_park' : disabled },
            wrapper: [
              ...['strace', '-f', '-qq', '-o', inDirectory('trace'), '-e', `trace=${call}`],
              ...[
                '-e',
                `inject=${call}:delay_${at}=${(way === 'state' ? longMsOfState : longMs) * 1000}:when=${when}`,
              ],
            ],
          })
          const outcome = await service.report()
          if (end === 'abort') expect(outcome).toMatchObject({ ok: false, name: 'AbortError' })
          else expect(outcome).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_STALLED' })
          if (end === 'stall' && way !== 'state') expect(outcome['message']).toContain(doing)
          // The disk responds: everything that was given up is undone.
          expect(await service.report()).toEqual({ ended: true })
          await service.end
          // There was no retry, since another copy would use the same disk.
          expect(readFileSync(inDirectory('trace'), 'utf8').split('(DELAYED)')).toHaveLength(2)
          expect(readdirSync(inDirectory()).sort()).toEqual(['file', 'trace'])
          expect(readFileSync(inDirectory('file'), 'utf8')).toBe('old')
        })
      }
    }
  })
}

test('what others have published meanwhile stays', async (context) => {
  needsStrace(context)
  writeFileSync(inDirectory('file'), 'old')
  const service = startFixture(hungPublish, [inDirectory('file'), 'fork', 'stall'], {
    wrapper: [
      ...['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=renameat2'],
      ...['-e', `inject=renameat2:delay_exit=${2 * longMs * 1000}:when=1`],
    ],
  })
  expect(await service.report()).toMatchObject({ code: 'ERR_STILLFRAME_STALLED' })
  writeFileSync(inDirectory('theirs'), 'theirs')
  renameSync(inDirectory('theirs'), inDirectory('file'))
  expect(await service.report()).toEqual({ ended: true })
  await service.end
  expect(readdirSync(inDirectory())).toEqual(['file'])
  expect(readFileSync(inDirectory('file'), 'utf8')).toBe('theirs')
})
