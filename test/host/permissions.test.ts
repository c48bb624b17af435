/**
 * Promise: a snapshot is private by default, and only ever replaces the regular file at its path at
 * the time of the call. Proved by hostile targets and directories before and during a capture, and
 * by inspecting the finished file and, as another user, the child.
 */

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { constants } from 'node:os'
import { inspect, Region, snapshot, verify } from 'stillframe'
import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { bigRegion, holdSnapshot } from '../support/held-snapshot.mjs'
import { needsReadableCheckout, needsRoot, needsTools } from '../support/needs.js'
import { isGone } from '../support/processes.mjs'
import { temporaryFilesIn, useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const { errno } = constants
/** The user and group that own nothing on any Linux system. */
const nobody = 65534
const asNobody = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups']
const held = new URL('../support/fixtures/held.mjs', import.meta.url)
const take = new URL('fixtures/take.mjs', import.meta.url)

function permissionsOf(path: string): number {
  return statSync(path).mode & 0o7777
}

describe('the mode of the file', () => {
  const umask = process.umask()
  afterEach(() => process.umask(umask))

  for (const mask of [0, 0o777]) {
    test(`is 0600 with umask ${mask.toString(8)}`, async () => {
      process.umask(mask)
      await snapshot(new Uint8Array(10), inDirectory('file')).done
      expect(permissionsOf(inDirectory('file'))).toBe(0o600)
    })

    for (const mode of [0o400, 0o640, 0o666]) {
      test(`is exactly ${mode.toString(8)} when asked for, with umask ${mask.toString(8)}`, async () => {
        process.umask(mask)
        await snapshot(new Uint8Array(10), inDirectory('file'), { mode }).done
        expect(permissionsOf(inDirectory('file'))).toBe(mode)
      })
    }
  }

  test('is that of the new snapshot when it replaces a file of another mode', async () => {
    writeFileSync(inDirectory('file'), 'old', { mode: 0o666 })
    await snapshot(new Uint8Array(10), inDirectory('file')).done
    expect(permissionsOf(inDirectory('file'))).toBe(0o600)
  })

  test('is never wider while the file still has a temporary name', async () => {
    const fixture = startFixture(held, ['snapshot', inDirectory('file'), '0'], {
      env: { STILLFRAME_DISABLE: 'o_tmpfile' },
    })
    await fixture.report()
    const names = temporaryFilesIn(inDirectory())
    expect(names).toHaveLength(1)
    expect(permissionsOf(inDirectory(names[0]))).toBe(0o600)
    fixture.tell('release')
    expect(await fixture.report()).toEqual({ ok: true })
    expect(readdirSync(inDirectory())).toEqual(['file'])
  })
})

describe('a symbolic link at the target', () => {
  test('is refused at the call, and what it leads to is untouched', () => {
    writeFileSync(inDirectory('precious'), 'precious')
    symlinkSync('precious', inDirectory('link'))
    const error = thrownBy(() => snapshot(new Uint8Array(10), inDirectory('link')))
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_IO', errno: -errno.ELOOP })
    expect(readlinkSync(inDirectory('link'))).toBe('precious')
    expect(readFileSync(inDirectory('precious'), 'utf8')).toBe('precious')
    expect(readdirSync(inDirectory()).sort()).toEqual(['link', 'precious'])
  })

  test('is refused also when it leads nowhere', () => {
    symlinkSync('nowhere', inDirectory('link'))
    const error = thrownBy(() => snapshot(new Uint8Array(10), inDirectory('link')))
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_IO', errno: -errno.ELOOP })
    expect(readdirSync(inDirectory())).toEqual(['link'])
  })

  test('that appears during the capture is neither followed nor replaced', async () => {
    writeFileSync(inDirectory('precious'), 'precious')
    const { taken, release } = holdSnapshot(bigRegion(), inDirectory('link'))
    symlinkSync('precious', inDirectory('link'))
    release()
    expect(await rejectionOf(taken.done)).toMatchObject({ code: 'ERR_STILLFRAME_IO', errno: -errno.ELOOP })
    expect(readlinkSync(inDirectory('link'))).toBe('precious')
    expect(readFileSync(inDirectory('precious'), 'utf8')).toBe('precious')
    expect(readdirSync(inDirectory()).sort()).toEqual(['link', 'precious'])
  })
})

describe('the directory of the target', () => {
  test('is the one of the call, when the symbolic link in its path is led elsewhere', async () => {
    mkdirSync(inDirectory('right'))
    mkdirSync(inDirectory('wrong'))
    symlinkSync('right', inDirectory('current'))
    const { taken, release } = holdSnapshot(bigRegion(), inDirectory('current/file'))
    unlinkSync(inDirectory('current'))
    symlinkSync('wrong', inDirectory('current'))
    release()
    // The file would not be found under its path.
    expect(await rejectionOf(taken.done)).toMatchObject({ code: 'ERR_STILLFRAME_IO' })
    expect(readdirSync(inDirectory('right'))).toEqual([])
    expect(readdirSync(inDirectory('wrong'))).toEqual([])
  })

  test('is the one of the call, when another takes its name', async () => {
    mkdirSync(inDirectory('directory'))
    const { taken, release } = holdSnapshot(bigRegion(), inDirectory('directory/file'))
    renameSync(inDirectory('directory'), inDirectory('moved'))
    mkdirSync(inDirectory('directory'))
    release()
    expect(await rejectionOf(taken.done)).toMatchObject({ code: 'ERR_STILLFRAME_IO' })
    expect(readdirSync(inDirectory('moved'))).toEqual([])
    expect(readdirSync(inDirectory('directory'))).toEqual([])
  })

  test('that is removed during the capture gives a typed error', async () => {
    mkdirSync(inDirectory('directory'))
    const { taken, release } = holdSnapshot(bigRegion(), inDirectory('directory/file'))
    spawnSync('rmdir', [inDirectory('directory')])
    release()
    expect(await rejectionOf(taken.done)).toMatchObject({ code: 'ERR_STILLFRAME_IO', errno: -errno.ENOENT })
    expect(readdirSync(inDirectory())).toEqual([])
  })

  test('that cannot be written gives a typed error at the call, and nothing in it changes', async (context) => {
    needsRoot(context, 'to become another user')
    needsTools(context, 'setpriv')
    needsReadableCheckout(context, asNobody)
    await snapshot(new Uint8Array(10), inDirectory('file')).done
    const before = readFileSync(inDirectory('file'))
    chmodSync(inDirectory(), 0o555)
    const fixture = startFixture(take, [inDirectory('file')], { wrapper: asNobody })
    expect(await fixture.report()).toMatchObject({
      thrown: true,
      code: 'ERR_STILLFRAME_IO',
      errno: -errno.EACCES,
    })
    expect(readFileSync(inDirectory('file')).equals(before)).toBe(true)
    expect(readdirSync(inDirectory())).toEqual(['file'])
  })

  test('that loses its permission during the capture gives a typed error, and leaves nothing', async (context) => {
    needsRoot(context, 'to become another user')
    needsTools(context, 'setpriv')
    needsReadableCheckout(context, asNobody)
    mkdirSync(inDirectory('directory'))
    chownSync(inDirectory('directory'), nobody, nobody)
    const path = inDirectory('directory/file')
    const fixture = startFixture(held, ['snapshot', path], { wrapper: asNobody })
    await fixture.report()
    chmodSync(inDirectory('directory'), 0o555)
    fixture.tell('release')
    expect(await fixture.report()).toMatchObject({ code: 'ERR_STILLFRAME_IO', errno: -errno.EACCES })
    expect(readdirSync(inDirectory('directory'))).toEqual([])
  })
})

/** Creates files of each kind that is not a regular file. */
const kinds: Record<string, (path: string) => void> = {
  'a FIFO': (path) => spawnSync('mkfifo', [path]),
  // The null device: overwriting it would break the machine.
  'a device': (path) => spawnSync('mknod', [path, 'c', '1', '3']),
  'a directory': (path) => mkdirSync(path),
  'a socket': (path) => {
    const server = createServer().listen(path)
    onTestFinished(() => void server.close())
  },
}

describe('what is no regular file at the target', () => {
  for (const [kind, make] of Object.entries(kinds)) {
    test(`is refused at the call and untouched: ${kind}`, async (context) => {
      if (kind === 'a device') needsRoot(context, 'to make a device')
      make(inDirectory('target'))
      const before = lstatSync(inDirectory('target'))
      expect(before.isFile()).toBe(false)
      const error = thrownBy(() => snapshot(new Uint8Array(10), inDirectory('target')))
      expect(error).toMatchObject({
        name: 'StillframeError',
        code: 'ERR_STILLFRAME_IO',
        path: inDirectory('target'),
      })
      expect(lstatSync(inDirectory('target'))).toMatchObject({ ino: before.ino, mode: before.mode })
      expect(readdirSync(inDirectory())).toEqual(['target'])
    })

    test(`is not replaced when it appears during the capture: ${kind}`, async (context) => {
      if (kind === 'a device') needsRoot(context, 'to make a device')
      const { taken, release } = holdSnapshot(bigRegion(), inDirectory('target'))
      make(inDirectory('target'))
      const before = lstatSync(inDirectory('target'))
      release()
      expect(await rejectionOf(taken.done)).toMatchObject({ code: 'ERR_STILLFRAME_IO' })
      expect(lstatSync(inDirectory('target'))).toMatchObject({ ino: before.ino, mode: before.mode })
      expect(readdirSync(inDirectory())).toEqual(['target'])
    })
  }
})

describe('overwrite: false', () => {
  test('refuses an existing file at the call', () => {
    writeFileSync(inDirectory('file'), 'old')
    const error = thrownBy(() => snapshot(new Uint8Array(10), inDirectory('file'), { overwrite: false }))
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_EXISTS' })
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('old')
  })

  test('does not replace a file that appears during the capture', async () => {
    const { taken, release } = holdSnapshot(bigRegion(), inDirectory('file'), { overwrite: false })
    writeFileSync(inDirectory('file'), 'of somebody else')
    release()
    expect(await rejectionOf(taken.done)).toMatchObject({ code: 'ERR_STILLFRAME_EXISTS' })
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('of somebody else')
    expect(readdirSync(inDirectory())).toEqual(['file'])
  })
})

describe('the file holds the sources and nothing else', () => {
  test('no byte of the memory around them', async () => {
    const canary = 'tweet'.repeat(40)
    const memory = new Uint8Array(1 << 20)
    for (let at = 0; at < memory.length; at += canary.length)
      memory.set(Buffer.from(canary).subarray(0, memory.length - at), at)
    const hole = memory.subarray(300_000, 350_001).fill(0x2e)
    const region = Region.allocate(1 << 20)
    new Uint8Array(region.buffer).set(memory)
    const part = new Uint8Array(region.buffer, 300_000, 50_001)
    await snapshot({ hole, part, few: Buffer.from('few') }, inDirectory('file'), { metadata: 'plain' }).done
    expect(readFileSync(inDirectory('file')).includes(canary.slice(0, 5))).toBe(false)
    expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
  })

  test('zeros behind the last byte of each section, also where longer sections went before', async () => {
    // The first section leaves nonzero bytes in the child's whole write buffer.
    const lengths = [9 << 20, 1, 4095, 4096, 4097, 65_537, (4 << 20) + 1, 3]
    const sources = Object.fromEntries(
      lengths.map((length, index) => [`s${index}`, new Uint8Array(length).fill(0xff)]),
    )
    await snapshot(sources, inDirectory('file')).done
    const { sections } = await inspect(inDirectory('file'))
    const bytes = readFileSync(inDirectory('file'))
    expect(sections).toHaveLength(lengths.length)
    sections.forEach(({ name, byteLength, fileOffset }, index) => {
      expect(
        bytes.subarray(fileOffset, fileOffset + byteLength).every((byte) => byte === 0xff),
        name,
      ).toBe(true)
      const next = sections[index + 1]?.fileOffset ?? Math.ceil((fileOffset + byteLength) / 4096) * 4096
      const padding = bytes.subarray(fileOffset + byteLength, next)
      expect(
        padding.every((byte) => byte === 0),
        `padding of ${name}`,
      ).toBe(true)
    })
  })
})

describe('the child', () => {
  test('cannot be looked into by other processes of its user', async (context) => {
    needsRoot(context, 'to become another user')
    needsTools(context, 'setpriv')
    needsReadableCheckout(context, asNobody)
    chownSync(inDirectory(), nobody, nobody)
    const fixture = startFixture(held, ['snapshot', inDirectory('file')], { wrapper: asNobody })
    const { pid } = await fixture.report()
    // The files in /proc/<pid> of a process that is not dumpable belong to root.
    expect(statSync(`/proc/${fixture.pid}/mem`).uid).toBe(nobody)
    expect(statSync(`/proc/${pid}/mem`).uid).toBe(0)
    const peek = spawnSync(asNobody[0] as string, [...asNobody.slice(1), 'cat', `/proc/${pid}/environ`])
    expect(peek.stderr.toString()).toMatch(/Permission denied/)
    fixture.tell('release')
    expect(await fixture.report()).toEqual({ ok: true })
  })

  test('leaves no core file when it crashes', async (context) => {
    needsTools(context, 'prlimit')
    const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'utf8').trim()
    if (pattern.includes('/') || pattern.startsWith('|')) context.skip(`cores go elsewhere here: ${pattern}`)
    const wrapper = ['prlimit', '--core=unlimited']
    if (spawnSync('prlimit', ['--core=unlimited', 'true']).status !== 0) {
      context.skip('needs the right to raise the limit on core files')
    }
    const options = { cwd: inDirectory(), wrapper }
    const fixture = startFixture(held, ['snapshot', inDirectory('file')], options)
    const { pid } = await fixture.report()
    process.kill(pid, 'SIGSEGV')
    fixture.tell('release')
    const outcome = await fixture.report()
    expect(outcome).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_CHILD_DIED' })
    expect(outcome['message']).toMatch(/SIGSEGV/)
    expect(isGone(pid)).toBe(true)
    expect(readdirSync(inDirectory())).toEqual([])
  })
})
