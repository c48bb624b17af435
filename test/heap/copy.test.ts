/**
 * Promise: the copy is expendable and isolated (I5, I8): it is the first victim of the OOM killer,
 * leaves no core, has none of the host's descriptors, handlers or output, and its file is private.
 * Proved by inspecting a copy that waits in its callback.
 */

import {
  chmodSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { constants, getPriority } from 'node:os'
import { snapshotState } from 'stillframe/heap'
import { expect, onTestFinished, test } from 'vitest'
import { compileLibrary } from '../support/compile.js'
import { thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { holdJob } from '../support/held-job.mjs'
import { needsReadableCheckout, needsRoot, needsTools, needsTracing } from '../support/needs.js'
import { nameOf, signalsIn, stateOf, statOf } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const held = new URL('../support/fixtures/held.mjs', import.meta.url)
const someWork = new URL('../support/fixtures/some-work.mjs', import.meta.url)

test('a copy is the first that the kernel takes when memory runs out, can be told by its name, and gives way', async () => {
  const own = readFileSync('/proc/self/oom_score_adj', 'utf8')
  const { job, pid, release } = holdJob(inDirectory('file'), { nice: 7 })
  expect(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8')).toBe('1000\n')
  expect(nameOf(pid)).toBe('stillframe')
  // Fields 4 (the parent) and 19 (the niceness) of proc(5).
  expect(Number(statOf(pid)?.[1])).toBe(process.pid)
  expect(Number(statOf(pid)?.[16])).toBe(Math.max(7, getPriority()))
  expect(readFileSync('/proc/self/oom_score_adj', 'utf8')).toBe(own)
  release()
  await job.done
})

test('a copy is never preferred to a service that gives way itself', async () => {
  const service = startFixture(held, ['job', inDirectory('file')], {
    wrapper: ['nice', '-n', '19'],
  })
  const { pid } = await service.report()
  expect(Number(statOf(pid)?.[16])).toBe(19)
  service.tell('release')
  expect(await service.report()).toEqual({ ok: true })
})

test('a copy has no core dump, and its memory cannot be read by other processes of the user', async (context) => {
  needsRoot(context, 'to run a service as another user')
  needsTools(context, 'setpriv')
  const wrapper = ['setpriv', '--reuid=65534', '--clear-groups', '--']
  needsReadableCheckout(context, wrapper)
  chmodSync(inDirectory(), 0o777)
  const service = startFixture(held, ['job', inDirectory('file')], {
    wrapper,
  })
  const { pid } = await service.report()
  expect(statSync(`/proc/${service.pid}/mem`).uid).toBe(65534)
  // The files of a process that is not dumpable belong to root.
  expect(statSync(`/proc/${pid}/mem`).uid).toBe(0)
  service.tell('release')
  expect(await service.report()).toEqual({ ok: true })
})

test('a copy has the file and the pipe to its parent open, and otherwise what leads nowhere', async (context) => {
  needsTracing(context)
  const { job, pid, release } = holdJob(inDirectory('file'))
  const numbers = readdirSync(`/proc/${pid}/fd`).sort((a, b) => Number(a) - Number(b))
  const open = numbers.map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
  expect(open.filter((path) => path.startsWith('pipe:'))).toHaveLength(1)
  expect(open.filter((path) => path.startsWith(inDirectory()))).toHaveLength(1)
  expect(open.filter((path) => path !== '/dev/null')).toHaveLength(2)
  // The descriptors that console writes to: a file opened by the callback must not get one of these
  // numbers.
  expect(open.slice(0, 3)).toEqual(['/dev/null', '/dev/null', '/dev/null'])
  release()
  await job.done
})

test('a copy meets no handler of the host: all are at their default, but SIGPIPE and SIGXFSZ are ignored', async () => {
  const handler = (): void => {}
  process.on('SIGUSR2', handler)
  onTestFinished(() => void process.off('SIGUSR2', handler))
  const { job, pid, release } = holdJob(inDirectory('file'))
  // The copy's own handlers: for faults of the callback, and to check whether it waits forever.
  const { SIGSEGV, SIGALRM, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR2, SIGTSTP } = constants.signals
  expect(signalsIn(pid, 'SigCgt').filter((signal) => ![SIGSEGV, SIGALRM].includes(signal))).toEqual([])
  const blocked = signalsIn(pid, 'SigBlk')
  expect(blocked).toEqual(expect.arrayContaining([SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR2, SIGTSTP]))
  expect(blocked).not.toContain(SIGSEGV)
  expect(blocked).not.toContain(SIGALRM)
  expect(signalsIn(pid, 'SigIgn')).toEqual([constants.signals.SIGPIPE, constants.signals.SIGXFSZ])
  release()
  await job.done
})

test('a copy runs no exit handler and no destructor of the host', async (context) => {
  needsTools(context, 'cc')
  const library = inDirectory('exit_mark.so')
  compileLibrary(new URL('../support/fixtures/exit_mark.c', import.meta.url), library)
  const mark = inDirectory('mark')
  const fixture = startFixture(someWork, ['job', inDirectory('file'), '5'], {
    preload: library,
    env: { EXIT_MARK: mark },
  })
  expect((await fixture.report())['outcomes']).toHaveLength(5)
  await fixture.end
  const marks = readFileSync(mark, 'utf8').trimEnd().split('\n').sort()
  expect(marks).toEqual([`atexit ${fixture.pid}`, `destructor ${fixture.pid}`])
})

test('what a callback prints reaches nobody, and not the file, also when the host has closed its own output', async () => {
  // With O_DIRECT the kernel would refuse most of the printed text.
  const env = { STILLFRAME_DISABLE: 'o_direct' }
  const prints = new URL('fixtures/prints-to-closed.mjs', import.meta.url)
  for (const closed of ['', '0', '1', '0,1', '0,1,2']) {
    const fixture = startFixture(prints, [inDirectory('file'), closed], { env })
    const { status, stderr } = await fixture.end
    expect({ status, stderr }, `closed: ${closed}`).toEqual({ status: 0, stderr: '' })
    expect(fixture.hasReport, `closed: ${closed}`).toBe(false)
    expect(readFileSync(inDirectory('file'), 'utf8'), `closed: ${closed}`).toBe('state')
  }
})

test('an open inspector has no port, no session and no output in the copy', async () => {
  const fixture = startFixture(someWork, ['job', inDirectory('file'), '3'], {
    nodeOptions: ['--inspect=127.0.0.1:0'],
  })
  const { outcomes } = await fixture.report()
  expect(outcomes).toEqual(Array.from({ length: 3 }, () => ({ ok: true })))
  const { status, stderr } = await fixture.end
  expect(status).toBe(0)
  expect(stderr.match(/Debugger listening/g)).toHaveLength(1)
})

test('the file is private whatever the umask, and a symbolic link is not followed', async () => {
  const before = process.umask(0)
  onTestFinished(() => void process.umask(before))
  await snapshotState(inDirectory('file'), (out) => out.write('state')).done
  expect(statSync(inDirectory('file')).mode & 0o777).toBe(0o600)
  const { job, release } = holdJob(inDirectory('file'))
  release()
  await job.done
  expect(statSync(inDirectory('file')).mode & 0o777).toBe(0o600)

  writeFileSync(inDirectory('precious'), 'precious')
  symlinkSync('precious', inDirectory('link'))
  const error = thrownBy(() => snapshotState(inDirectory('link'), (out) => out.write('state')))
  expect(error).toMatchObject({ name: 'StillframeError', path: inDirectory('link') })
  expect(readFileSync(inDirectory('precious'), 'utf8')).toBe('precious')
  expect(lstatSync(inDirectory('link')).isSymbolicLink()).toBe(true)
})

test('a copy is not left as a zombie', async () => {
  const { job, pid, release } = holdJob(inDirectory('file'))
  release()
  await job.done
  expect(stateOf(pid)).toBeUndefined()
})
