/**
 * Promise: `done` resolves only when the file is at its path, and a target where the file could
 * never appear is refused before anything is captured (I3, I11). Proved by moving the directory,
 * changing a link and mounting over the directory while a capture runs, and with a target that is
 * itself a mount point; for snapshots and for JavaScript state.
 */

import { spawnSync } from 'node:child_process'
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { preflight, Region, snapshot } from 'stillframe'
import { snapshotState } from 'stillframe/heap'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { holdJob } from '../support/held-job.mjs'
import { holdSnapshot, longEnoughBytes } from '../support/held-snapshot.mjs'
import { needsRoot } from '../support/needs.js'
import { fillPattern } from '../support/pattern.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { mountTmpfs } from '../support/tmpfs.js'

const inDirectory = useTemporaryDirectory()

const memory = fillPattern(new Uint8Array(100_000), 1)

interface Held {
  done: Promise<unknown>
  release: () => void
}
/** Held captures, so that the change happens before anything is published. */
const ways: Record<string, (path: string) => Held> = {
  'a snapshot'(path) {
    const { taken, release } = holdSnapshot(new Uint8Array(longEnoughBytes).fill(1), path)
    return { done: taken.done, release }
  },
  'JavaScript state'(path) {
    const { job, release } = holdJob(path)
    return { done: job.done, release }
  },
}

const changes: Record<string, { path: string; where: string; make: () => void; root?: boolean }> = {
  'is moved': {
    path: 'here/file',
    where: 'there',
    make: () => renameSync(inDirectory('here'), inDirectory('there')),
  },
  'is replaced': {
    path: 'here/file',
    where: 'there',
    make() {
      renameSync(inDirectory('here'), inDirectory('there'))
      mkdirSync(inDirectory('here'))
    },
  },
  'is another one by a link of the path': {
    path: 'link/file',
    where: 'here',
    make() {
      unlinkSync(inDirectory('link'))
      symlinkSync('other', inDirectory('link'))
    },
  },
  'is hidden by a mount': {
    path: 'here/file',
    where: '',
    root: true,
    make: () => mountTmpfs(inDirectory('here'), 1 << 20),
  },
}

describe('while it is written, the directory', () => {
  beforeEach(() => {
    for (const name of ['here', 'other']) mkdirSync(inDirectory(name))
    symlinkSync('here', inDirectory('link'))
    writeFileSync(inDirectory('here/file'), 'old')
  })
  for (const [what, { path, where, make, root }] of Object.entries(changes)) {
    for (const [way, start] of Object.entries(ways)) {
      test(`${what}: ${way} is taken back`, async (context) => {
        if (root) needsRoot(context, 'to mount file systems')
        const { done, release } = start(inDirectory(path))
        make()
        release()
        const error = await rejectionOf(done)
        expect(error).toMatchObject({ code: 'ERR_STILLFRAME_IO', path: inDirectory(path) })
        expect(String(error)).toContain('does not stand under the path')
        if (root) spawnSync('umount', [inDirectory('here')])
        const old = root ? 'here' : where
        expect(readFileSync(inDirectory(`${old}/file`), 'utf8')).toBe('old')
        expect(readdirSync(inDirectory(old))).toEqual(['file'])
      })
    }
  }
})

test('a file that is mounted by itself is refused before the capture', async (context) => {
  needsRoot(context, 'to mount a file')
  const path = inDirectory('file')
  for (const name of ['file', 'of-the-host']) writeFileSync(inDirectory(name), 'old')
  const mounted = spawnSync('mount', ['--bind', inDirectory('of-the-host'), path], { encoding: 'utf8' })
  if (mounted.status !== 0) context.skip(`cannot mount a file here: ${mounted.stderr}`)
  onTestFinished(() => void spawnSync('umount', [path]))
  using region = Region.allocate(4096)
  const expected = { code: 'ERR_STILLFRAME_IO', syscall: 'open', errno: -16 }
  expect(thrownBy(() => snapshot(region, path))).toMatchObject(expected)
  expect(thrownBy(() => snapshotState(path, (out) => out.write('new')))).toMatchObject(expected)
  expect(await rejectionOf(preflight(region, path))).toMatchObject(expected)
  expect(readdirSync(dirname(path)).sort()).toEqual(['file', 'of-the-host'])
})

test('a directory that is append-only is named by preflight', async (context) => {
  needsRoot(context, 'to set attributes of files')
  const directory = inDirectory('append')
  mkdirSync(directory)
  const set = spawnSync('chattr', ['+a', directory], { encoding: 'utf8' })
  if (set.status !== 0) context.skip(`attributes cannot be set here: ${set.stderr}`)
  try {
    const { hazards } = await preflight(new Uint8Array(10), `${directory}/file`)
    expect(hazards.map(({ code }) => code)).toContain('DIRECTORY_APPEND_ONLY')
    await snapshot(memory, `${directory}/file`).done
    expect(thrownBy(() => snapshot(memory, `${directory}/file`))).toMatchObject({ errno: -1 })
    expect(readdirSync(directory)).toEqual(['file'])
  } finally {
    spawnSync('chattr', ['-a', directory])
  }
})
