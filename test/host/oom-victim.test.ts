/**
 * Promise: when memory runs out during a capture, the kernel kills the forked copy and not the
 * service, which continues and gets the reason (I5). Proved by a service that rewrites its memory
 * in a control group with room for three quarters of the copies.
 */

import { readdirSync } from 'node:fs'
import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { memoryCgroup } from '../support/memory-cgroup.js'
import { hasEnded } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const outgrowsMemory = new URL('fixtures/outgrows-memory.mjs', import.meta.url)
const rounds = 20
/**
 * The kernel may look for the next victim while the last 38 MiB of a killed process are unmapped
 * but not yet free. The memory that was free before must therefore suffice for the rest of the
 * copies.
 */
const byteLength = 128 << 20
const roomForCopies = 96 << 20

test(`the forked copy is the victim, ${rounds} times of ${rounds}`, async (context) => {
  const group = memoryCgroup(context, 2 ** 40)
  const service = startFixture(outgrowsMemory, [inDirectory('file'), String(byteLength)], {
    wrapper: group.wrapper,
  })
  await service.report()
  group.leave(roomForCopies)
  for (let round = 1; round <= rounds; round++) {
    service.tell('go')
    const { pid, ...outcome } = await service.report()
    expect(outcome, `round ${round}`).toMatchObject({
      ok: false,
      code: 'ERR_STILLFRAME_CHILD_OOM',
      written: true,
    })
    expect(hasEnded(pid), `round ${round}`).toBe(true)
    expect(readdirSync(inDirectory()), `round ${round}`).toEqual([])
  }
  service.child.stdin?.end()
  expect(await service.end).toEqual({ status: 0, signal: null, stderr: '' })
})
