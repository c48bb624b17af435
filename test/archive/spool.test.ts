/**
 * Promise: files that a dead process left on the way to or from a store are removed; files that are
 * in use or belong to other programs stay. Proved with directories as such processes leave them.
 */

import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { loadAddon } from '../../lib/addon/load.js'
import { makeSpool } from '../../lib/archive/spool.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

/** Runs once, just before the next lock is taken. */
let meanwhile: (() => void) | undefined
vi.mock('../../lib/files/file-lock.js', async (original) => {
  const locks = await original<typeof import('../../lib/files/file-lock.js')>()
  return {
    ...locks,
    tryLock(...call: Parameters<typeof locks.tryLock>) {
      meanwhile?.()
      meanwhile = undefined
      return locks.tryLock(...call)
    },
  }
})

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

test('a spool is never taken for an abandoned one while it is being made', async () => {
  // Another process looks at the directory just before the spool is locked.
  meanwhile = () => {
    for (const name of readdirSync(inDirectory())) removeIfAbandoned(inDirectory(name))
  }
  const spool = await makeSpool(inDirectory())
  expect(meanwhile).toBeUndefined()
  expect(existsSync(spool.directory)).toBe(true)
  await spool.remove()
  expect(readdirSync(inDirectory())).toEqual([])
})

function removeIfAbandoned(directory: string): void {
  const lock = join(directory, 'lock')
  if (!existsSync(lock)) return
  const fd = openSync(lock, constants.O_RDWR)
  if (loadAddon().flock(fd, 'exclusive')) rmSync(directory, { recursive: true })
  closeSync(fd)
}
