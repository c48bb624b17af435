/**
 * Promise: on a filesystem with hardly any features, stillframe uses the features that exist, and
 * refuses the rest before anything is frozen (I2, I8). Proved on a FUSE filesystem without links,
 * exchange of names, nameless files and statfs, and with one mode for all files, as on FAT.
 */

import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { snapshot, verify } from 'stillframe'
import { openArchive } from 'stillframe/archive'
import { expect, type TestContext, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { needsRoot, needsTools } from '../support/needs.js'
import { waitUntil } from '../support/processes.mjs'
import { namesIn, useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const source = fileURLToPath(new URL('../support/fixtures/bare_filesystem.c', import.meta.url))

test('snapshots are written, replaced and never replaced unasked', async (context) => {
  const disk = await mountBare(context, 'default_permissions')
  const path = `${disk}/file`
  await snapshot(new Uint8Array(10), path, { overwrite: false }).done
  expect(statSync(path).mode & 0o777).toBe(0o600)
  const old = readFileSync(path)
  const refused = (async () => await snapshot(new Uint8Array(20), path, { overwrite: false }).done)()
  expect(await rejectionOf(refused)).toMatchObject({ code: 'ERR_STILLFRAME_EXISTS' })
  expect(readFileSync(path).equals(old)).toBe(true)
  await snapshot(new Uint8Array(100_000), path).done
  expect(await verify(path)).toMatchObject({ ok: true })
  expect(namesIn(disk)).toEqual(['file'])
})

test('where all files can be read by others, one that should not be is refused', async (context) => {
  const disk = await mountBare(context, 'umask=022')
  const path = `${disk}/file`
  const refused = (async () => await snapshot(new Uint8Array(10), path).done)()
  expect(await rejectionOf(refused)).toMatchObject({
    code: 'ERR_STILLFRAME_IO',
    syscall: 'fchmod',
    message: expect.stringMatching(/not be as private.*0o755.*umask=077/),
  })
  expect(namesIn(disk)).toEqual([])
  const archive = await openArchive(`${disk}/archive`)
  const frame = (async () => await archive.capture(new Uint8Array(10)).done)()
  expect(await rejectionOf(frame)).toMatchObject({ syscall: 'fchmod' })
  await archive.close()
  // A mode that explicitly lets others read the file is accepted.
  await snapshot(new Uint8Array(10), path, { mode: 0o755 }).done
  expect(await verify(path)).toMatchObject({ ok: true })
})

test('where all files are for their owner only, snapshots and archives are written', async (context) => {
  const disk = await mountBare(context, 'umask=077')
  const path = `${disk}/file`
  await snapshot(new Uint8Array(10), path).done
  expect(statSync(path).mode & 0o777).toBe(0o700)
  await using archive = await openArchive(`${disk}/archive`)
  await archive.capture(new Uint8Array(10)).done
  const back = await archive.restore()
  expect(back.frame.number).toBe(1)
  back.close()
})

/**
 * Mounts the filesystem. Its server ends when the mount disappears with the directory of the test.
 */
async function mountBare(context: TestContext, options: string): Promise<string> {
  needsRoot(context, 'to mount a filesystem')
  needsTools(context, 'cc', 'pkg-config')
  if (!existsSync('/dev/fuse')) context.skip('needs /dev/fuse')
  const { status, stdout } = spawnSync('pkg-config', ['--cflags', '--libs', 'fuse3'], { encoding: 'utf8' })
  if (status !== 0) context.skip('needs the headers of libfuse (libfuse3-dev), which are not installed')
  const flags = stdout.trim().split(/\s+/)
  const program = inDirectory('bare_filesystem')
  const compiled = spawnSync('cc', ['-O1', '-Wall', '-Werror', '-o', program, source, ...flags], {
    encoding: 'utf8',
  })
  expect(compiled.stderr).toBe('')
  const [below, disk] = [inDirectory('below'), inDirectory('disk')]
  mkdirSync(below)
  mkdirSync(disk)
  const outside = statSync(disk).dev
  const server = spawn(program, [below, disk, '-f', '-o', options], { stdio: 'ignore' })
  await waitUntil(() => server.exitCode !== null || statSync(disk).dev !== outside, 'it is mounted')
  if (server.exitCode !== null) context.skip('needs to be allowed to mount filesystems of FUSE')
  return disk
}
