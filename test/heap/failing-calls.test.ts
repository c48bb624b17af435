/**
 * Promise: whichever system call fails, a job succeeds or fails with a typed error, and the old
 * file and the process are then as before (I3, I4, I7). Proved by making every call of a job fail,
 * the first, the second and so on, in the service and in its copy.
 */

import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const failingCall = new URL('fixtures/failing-call.mjs', import.meta.url)

/**
 * A system call, its errors, further errors that only long mode tries, and true if a job works
 * without the call.
 */
interface FailingCall {
  call: string
  errors: string[]
  also?: string[]
  harmless?: boolean
}

const calls: FailingCall[] = [
  { call: 'clone3', errors: ['ENOMEM'], also: ['ENOSYS', 'EAGAIN', 'EPERM', 'EINVAL'] },
  { call: 'clone', errors: ['EAGAIN'], also: ['ENOMEM', 'EPERM'] },
  { call: 'close_range', errors: ['ENOSYS'], also: ['EPERM', 'EINVAL'], harmless: true },
  { call: 'eventfd2', errors: ['EMFILE'], also: ['ENFILE', 'ENOMEM', 'ENODEV'] },
  { call: 'fcntl', errors: ['EINVAL'], also: ['EPERM'], harmless: true },
  { call: 'fork', errors: ['EAGAIN', 'ENOMEM'] },
  { call: 'fstat', errors: ['EIO'], also: ['ENOMEM'] },
  { call: 'fsync', errors: ['EIO'], also: ['ENOSPC'] },
  { call: 'madvise', errors: ['EAGAIN'] },
  { call: 'mmap', errors: ['ENOMEM'], also: ['EAGAIN'] },
  { call: 'munmap', errors: ['ENOMEM'], harmless: true },
  { call: 'openat', errors: ['EMFILE'], also: ['ENOMEM', 'EACCES', 'EINTR'] },
  { call: 'pidfd_open', errors: ['EMFILE'], also: ['ENOMEM', 'ENODEV'] },
  { call: 'pidfd_send_signal', errors: ['EPERM'], harmless: true },
  { call: 'pipe2', errors: ['EMFILE'], also: ['ENFILE', 'ENOMEM'] },
  { call: 'ppoll', errors: ['ENOMEM', 'EINTR'] },
  { call: 'prctl', errors: ['EINVAL'], harmless: true },
  { call: 'pread', errors: ['EIO'], also: ['ESRCH'] },
  { call: 'pwrite', errors: ['EIO', 'ENOSPC'], also: ['EINVAL', 'EDQUOT', 'EINTR'] },
  { call: 'renameat2', errors: ['EIO'], also: ['ENOSPC', 'EACCES'] },
  { call: 'rt_sigaction', errors: ['EINVAL'], harmless: true },
  { call: 'waitid', errors: ['ECHILD', 'EINTR'], harmless: true },
  { call: 'write', errors: ['EIO'], harmless: true },
]

for (const { call, errors, also = [], harmless } of calls) {
  test(`${call} fails`, async () => {
    const all = longMode ? [...errors, ...also] : errors
    const fixture = startFixture(failingCall, [inDirectory(), call, all.join(',')])
    const { runs, outcomes, problems } = await fixture.report()
    expect(problems).toEqual([])
    expect(runs).toBeGreaterThan(2)
    expect(outcomes.ok).toBeGreaterThan(0)
    if (!harmless) expect(Object.keys(outcomes).length, JSON.stringify(outcomes)).toBeGreaterThan(1)
    expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
  })
}
