/**
 * Promise: under Node's permission model stillframe reads and writes nothing that Node's own
 * functions would not, although the addon could. Proved by trying each function inside and outside
 * the permitted directories.
 */

import { mkdirSync, readdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { snapshot } from 'stillframe'
import { snapshotState } from 'stillframe/heap'
import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const checkout = fileURLToPath(new URL('../../', import.meta.url))
/** Where the packages are, which may be behind a link. */
const packages = realpathSync(join(checkout, 'node_modules'))
const writers = ['preflight', 'snapshot', 'snapshotState', 'writeHeapSnapshot']
const readers = ['inspect', 'verify', 'restore', 'readValues']

test('what is not allowed is refused with ERR_ACCESS_DENIED', async () => {
  const [allowed, forbidden] = [inDirectory('allowed'), inDirectory('forbidden')]
  mkdirSync(allowed)
  mkdirSync(forbidden)
  await snapshot(new Uint8Array(10), `${forbidden}/file`).done
  await snapshotState(`${forbidden}/state`, (out) => out.value(1)).done
  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission'

  const fixture = startFixture(
    new URL('fixtures/permission-model.mjs', import.meta.url),
    [allowed, forbidden],
    {
      nodeOptions: [
        ...[permission, '--no-warnings', '--allow-addons'],
        ...[`--allow-fs-read=${checkout}*`, `--allow-fs-read=${packages}/*`],
        ...[`--allow-fs-read=${allowed}/*`, `--allow-fs-write=${allowed}/*`],
      ],
    },
  )
  const { outcomes } = await fixture.report()
  for (const name of [...writers, ...readers]) expect(outcomes[`${name} ${allowed}`], name).toBe('done')
  for (const name of writers) {
    expect(outcomes[`${name} ${forbidden}`], name).toMatchObject({
      code: 'ERR_ACCESS_DENIED',
      permission: 'FileSystemWrite',
    })
  }
  for (const name of readers) {
    expect(outcomes[`${name} ${forbidden}`], name).toMatchObject({
      code: 'ERR_ACCESS_DENIED',
      permission: 'FileSystemRead',
    })
  }
  expect(readdirSync(forbidden).sort()).toEqual(['file', 'state'])
})
