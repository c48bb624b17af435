/**
 * Promise: whichever system call fails, the snapshot succeeds or fails with a typed error, and then
 * the old file, the memory and the process are as before. Proved by making each call of a capture
 * fail, the first, the second and so on, with each error that it may return, in the service and in
 * its child.
 */

import { beforeEach, describe, expect, test } from 'vitest'
import { hasNamelessFiles } from '../support/filesystem.mjs'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { mountTmpfs } from '../support/tmpfs.js'

const inDirectory = useTemporaryDirectory()
// Thousands of snapshots: in memory where that is possible, to spare the disk, and once more on
// disk.
let directory = ''
const inMemory = (): void => {
  directory = inDirectory()
  if (process.getuid?.() !== 0 || process.env['STILLFRAME_TEST_FILESYSTEM'] !== undefined) return
  directory = inDirectory('tmpfs')
  mountTmpfs(directory, 64 << 20)
}
const onDisk = (): void => {
  directory = inDirectory()
}

const failingCall = new URL('fixtures/failing-call.mjs', import.meta.url)

/**
 * A call, the errors to inject, the errors that CI leaves out, and whether a capture succeeds
 * without the call.
 */
interface FailingCall {
  call: string
  errors: string[]
  also?: string[]
  harmless?: boolean
}

/** Calls of the freezer and the child. */
const freezing: FailingCall[] = [
  { call: 'clone3', errors: ['ENOMEM', 'ENOSYS'], also: ['EAGAIN', 'EPERM', 'EINVAL'] },
  { call: 'clone', errors: ['EAGAIN'], also: ['ENOMEM', 'EPERM'] },
  { call: 'close', errors: ['EIO'], harmless: true },
  { call: 'close_range', errors: ['ENOSYS'], also: ['EPERM', 'EINVAL'], harmless: true },
  { call: 'eventfd2', errors: ['EMFILE'], also: ['ENFILE', 'ENOMEM', 'ENODEV'] },
  { call: 'futex', errors: ['EAGAIN'], also: ['EINTR', 'EINVAL'], harmless: true },
  { call: 'madvise', errors: ['ENOMEM'], also: ['EINVAL', 'EAGAIN'] },
  { call: 'mmap', errors: ['ENOMEM'], also: ['EAGAIN', 'EPERM'] },
  { call: 'munmap', errors: ['ENOMEM'], harmless: true },
  { call: 'pipe2', errors: ['EMFILE'], also: ['ENFILE', 'ENOMEM'] },
  { call: 'ppoll', errors: ['ENOMEM', 'EINTR'] },
  { call: 'prctl', errors: ['EINVAL'], also: ['EPERM'], harmless: true },
  { call: 'pread', errors: ['EIO'], harmless: true },
  { call: 'read', errors: ['EIO'], also: ['EACCES'], harmless: true },
  { call: 'rt_sigaction', errors: ['EINVAL'], harmless: true },
  { call: 'setpgid', errors: ['EPERM'], harmless: true },
  // ECHILD: the host has reaped the child, and the control block tells how the copy ended.
  { call: 'waitid', errors: ['EINVAL', 'ECHILD', 'EINTR'], harmless: true },
  { call: 'write', errors: ['EACCES'], also: ['EIO'], harmless: true },
]

/** Calls of the writer and the publisher. */
const writing: FailingCall[] = [
  // EPERM: a filesystem without modes, which is acceptable if its files are equally private.
  { call: 'fchmod', errors: ['EIO', 'EPERM'], also: ['EROFS'] },
  { call: 'fcntl', errors: ['EINVAL'], also: ['EPERM'], harmless: true },
  { call: 'flock', errors: ['ENOLCK'], also: ['EWOULDBLOCK', 'EINTR'], harmless: true },
  { call: 'fstat', errors: ['EIO'], also: ['ENOMEM'] },
  { call: 'fstatat', errors: ['EACCES'], also: ['EIO', 'ELOOP'] },
  { call: 'fstatfs', errors: ['ENOSYS'], also: ['EIO'], harmless: true },
  { call: 'fsync', errors: ['EIO'], also: ['ENOSPC', 'EDQUOT', 'EROFS'] },
  {
    call: 'linkat',
    errors: ['EIO', 'EEXIST'],
    also: ['ENOSPC', 'EPERM', 'EMLINK', 'EDQUOT', 'EROFS', 'ENOENT'],
  },
  {
    call: 'openat',
    errors: ['EMFILE', 'EOPNOTSUPP'],
    also: ['EACCES', 'ENOSPC', 'EROFS', 'ENOMEM', 'EDQUOT', 'EINTR'],
  },
  { call: 'pwrite', errors: ['EIO', 'ENOSPC', 'EINVAL'], also: ['EDQUOT', 'EFBIG', 'EINTR', 'EPERM'] },
  { call: 'renameat2', errors: ['EIO', 'EINVAL'], also: ['ENOSPC', 'ENOENT', 'ENOSYS', 'EACCES', 'EBUSY'] },
  { call: 'unlinkat', errors: ['EIO'], also: ['EACCES', 'EROFS'], harmless: true },
]

const publishing = writing.filter(
  ({ call }) => !['fchmod', 'fcntl', 'flock', 'fstatfs', 'pwrite'].includes(call),
)

function series(calls: FailingCall[], target: 'fresh' | 'replace', disabled = ''): void {
  for (const { call, errors, also = [], harmless } of calls) {
    // Without an existing file there is nothing to exchange names with. Without O_TMPFILE, the file
    // has a temporary name from the start, and gets its final name without links.
    const neverReached =
      (target === 'fresh' && call === 'renameat2') || (disabled === 'o_tmpfile' && call === 'linkat')
    test(`${call} fails`, async () => {
      // On such a filesystem, the file has a name from the start, too.
      const named = call === 'linkat' && !hasNamelessFiles(directory)
      // The first series covers the other errors.
      const few = target === 'replace' && disabled === '' ? errors : errors.slice(0, 1)
      const all = longMode ? [...errors, ...also] : few
      const fixture = startFixture(failingCall, [directory, call, all.join(','), target], {
        env: { STILLFRAME_DISABLE: disabled },
      })
      const { runs, outcomes, problems } = await fixture.report()
      expect(problems).toEqual([])
      expect(runs).toBeGreaterThan(2)
      expect(outcomes.ok).toBeGreaterThan(0)
      if (!harmless && !neverReached && !named)
        expect(Object.keys(outcomes).length, JSON.stringify(outcomes)).toBeGreaterThan(1)
      expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
    })
  }
}

describe('while an older file is replaced', () => {
  beforeEach(inMemory)
  series([...freezing, ...writing], 'replace')
})

describe('while there is no older file', () => {
  beforeEach(onDisk)
  series(publishing, 'fresh')
})

describe('while an older file is replaced on a file system without O_TMPFILE', () => {
  beforeEach(inMemory)
  series(publishing, 'replace', 'o_tmpfile')
})

describe('while an older file is replaced on a file system that cannot exchange names', () => {
  beforeEach(inMemory)
  series(publishing, 'replace', 'exchange')
})
