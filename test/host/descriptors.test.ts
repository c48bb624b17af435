/**
 * Promise: captures do not affect the descriptors, sockets and ports of the service, survive a
 * shortage of descriptors, and keep none. Proved by services that close things while their child is
 * stopped, by limits on descriptors, and by counting the resources that hundreds of snapshots
 * leave.
 */

import { readdirSync, readlinkSync } from 'node:fs'
import { constants } from 'node:os'
import { describe, expect, test } from 'vitest'
import { expectFreePortAfterKill, sockets, tryWithFewDescriptors } from '../support/ending-service.js'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { needsTools, needsTracing } from '../support/needs.js'
import { bind } from '../support/port.js'
import { stateOf } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

// The fallback closes one descriptor after another, as before Linux 5.9.
for (const disabled of ['', 'close_range']) {
  describe(
    disabled === '' ? 'while a child runs' : `while a child runs that had to do without ${disabled}`,
    () => {
      const start = () =>
        startFixture(sockets, ['snapshot', inDirectory('file')], { env: { STILLFRAME_DISABLE: disabled } })

      test('a socket that the service closes reaches its peer at once', async () => {
        const service = start()
        const { pid } = await service.report()
        service.tell('destroy')
        expect(await service.report(5000)).toEqual({ peer: 'closed' })
        expect(stateOf(pid)).toBe('T')
        service.tell('release')
        expect(await service.report()).toEqual({ ok: true })
      })

      test('a port that the service closes can be bound by others', async () => {
        const service = start()
        const { port, pid } = await service.report()
        service.tell('destroy')
        await service.report(5000)
        service.tell('unlisten')
        expect(await service.report(5000)).toEqual({ port: 'closed' })
        expect(stateOf(pid)).toBe('T')
        await bind(port)
        service.tell('release')
        expect(await service.report()).toEqual({ ok: true })
      })

      test('it has the file and the pipe to its parent open, and nothing else', async (context) => {
        needsTracing(context)
        const service = start()
        const { pid } = await service.report()
        const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
        expect(open).toHaveLength(2)
        expect(open.filter((path) => path.startsWith('pipe:'))).toHaveLength(1)
        expect(open.filter((path) => path.startsWith(inDirectory()))).toHaveLength(1)
        service.tell('release')
        expect(await service.report()).toEqual({ ok: true })
      })
    },
  )
}

test('a port can be bound again as soon as the service has been killed', () =>
  expectFreePortAfterKill('snapshot', inDirectory('file')))

test('without free descriptors a snapshot fails with a typed error and leaves nothing behind', async (context) => {
  needsTools(context, 'prlimit')
  await tryWithFewDescriptors('snapshot', inDirectory, (outcome, what) => {
    expect(outcome, what).toMatchObject({ code: 'ERR_STILLFRAME_IO', errno: -constants.errno.EMFILE })
    expect(outcome['syscall'], what).not.toBe('')
  })
})

test(
  'many snapshots keep no descriptor, mapping, thread or child',
  async () => {
    const count = longMode ? 10_000 : 300
    const fixture = startFixture(
      new URL('fixtures/many-snapshots.mjs', import.meta.url),
      [inDirectory(), String(count)],
      { nodeOptions: ['--expose-gc'] },
    )
    const { before, after, verified } = await fixture.report(longMode ? 1_700_000 : undefined)
    expect({ ...after, mappings: 0 }).toEqual({ ...before, mappings: 0 })
    // V8's own heap causes some variation. One leaked mapping per ten snapshots would exceed the
    // limit.
    expect(after.mappings - before.mappings).toBeLessThan(30)
    expect(verified).toBe(true)
    expect(readdirSync(inDirectory())).toEqual(['file'])
    expect(await fixture.end).toMatchObject({ status: 0 })
  },
  longMode ? 1_800_000 : undefined,
)
