/**
 * Promise: files that a dead process left on the way to or from a store are removed; files that are
 * in use or belong to other programs stay. Proved with directories as such processes leave them.
 */

import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { makeSpool } from '../../lib/archive/spool.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

test('only what dead processes have left is removed', async () => {
  for (const name of ['stillframe-spool-dead', 'stillframe-spool-about-to-lock', 'of-others']) {
    mkdirSync(inDirectory(name))
    writeFileSync(join(inDirectory(name), 'content'), 'bytes')
  }
  for (const name of ['stillframe-spool-dead', 'of-others'])
    writeFileSync(join(inDirectory(name), 'lock'), '')
  const first = await makeSpool(inDirectory())
  writeFileSync(join(first.directory, 'frame'), 'bytes')
  const second = await makeSpool(inDirectory())
  expect(existsSync(join(first.directory, 'frame'))).toBe(true)
  await first.remove()
  await second.remove()
  expect(readdirSync(inDirectory()).sort()).toEqual(['of-others', 'stillframe-spool-about-to-lock'])
})
