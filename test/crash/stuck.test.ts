/**
 * Promise: a stuck child is killed and reported while the service continues, and a child that is
 * not stuck is not reported as such. Proved by stopping the child, the service or both, and by
 * freezing the filesystem under the child.
 */

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { snapshot, verify } from 'stillframe'
import { type ForkJob, snapshotState } from 'stillframe/heap'
import { describe, expect, onTestFinished, test } from 'vitest'
import { compileProgram } from '../support/compile.js'
import { rejectionOf } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { bigRegion, holdSnapshot, startSnapshot } from '../support/held-snapshot.mjs'
import { needsRoot, needsTools } from '../support/needs.js'
import { hashOf } from '../support/pattern.mjs'
import { childrenOf, isGone, stateOf, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { startTicking } from '../support/ticking.js'

const inDirectory = useTemporaryDirectory()
const stopGroup = new URL('fixtures/stop-group.mjs', import.meta.url)

/** Stops the child as soon as it exists, before it has begun to detach itself. */
function stopAtOnce(...args: Parameters<typeof startSnapshot>): ReturnType<typeof startSnapshot> {
  const started = startSnapshot(...args)
  process.kill(started.pid, 'SIGSTOP')
  return started
}

/** A copy of the heap that computes until it is ended. */
function lingeringState(): { taken: ForkJob; pid: number } {
  const taken = snapshotState(inDirectory('file'), () => {
    for (const end = performance.now() + 60_000; performance.now() < end; );
  })
  return { taken, pid: taken.pid }
}

describe('a stopped child', () => {
  for (const [moment, begin] of [
    ['in its first steps', stopAtOnce],
    ['while it saves', holdSnapshot],
  ] as const) {
    test(`is killed and reported as stalled: ${moment}`, async () => {
      await snapshot(new Uint8Array(10), inDirectory('file')).done
      const old = readFileSync(inDirectory('file'))
      const region = bigRegion()
      const hash = hashOf(region.buffer)
      const ticks = startTicking()
      const { taken, pid } = begin(region, inDirectory('file'), { stallTimeoutMs: 500 })
      expect(await rejectionOf(taken.done)).toMatchObject({
        name: 'StillframeError',
        code: 'ERR_STILLFRAME_STALLED',
        path: inDirectory('file'),
      })
      expect(isGone(pid)).toBe(true)
      expect(childrenOf(process.pid)).not.toContain(pid)
      expect(ticks()).toBeGreaterThan(5)
      expect(readFileSync(inDirectory('file')).equals(old)).toBe(true)
      expect(readdirSync(inDirectory())).toEqual(['file'])
      expect(hashOf(region.buffer)).toBe(hash)

      await snapshot(region, inDirectory('file')).done
      expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
    })
  }

  test('that goes on in time is not stalled', async () => {
    const { taken, release } = holdSnapshot(bigRegion(), inDirectory('file'), { stallTimeoutMs: 5000 })
    setTimeout(release, 500)
    await taken.done
    expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
  })
})

describe('a service that is stopped for longer than the watchdog waits', () => {
  const stallTimeoutMs = 1000
  const stopMs = 2500

  test('together with its child, is not stalled when it goes on', async () => {
    const service = startFixture(stopGroup, [inDirectory('file'), String(stallTimeoutMs)], { detached: true })
    const { pid } = await service.report()
    // Lets the service see everything that the child has done: new progress would hide a wrong
    // measurement of time.
    await new Promise((resolve) => setTimeout(resolve, 200))
    process.kill(-service.pid, 'SIGSTOP')
    await waitUntil(() => stateOf(service.pid) === 'T', 'the service is stopped')
    await new Promise((resolve) => setTimeout(resolve, stopMs))
    expect(stateOf(pid)).toBe('T')
    // The service continues first: it must not mistake its own stop for silence of the child, which
    // continues in time.
    process.kill(service.pid, 'SIGCONT')
    await new Promise((resolve) => setTimeout(resolve, 200))
    process.kill(pid, 'SIGCONT')
    expect(await service.report()).toEqual({ ok: true })
    expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
  })

  test('alone, finds the work of its child done', async () => {
    const service = startFixture(stopGroup, [inDirectory('file'), String(stallTimeoutMs)], { detached: true })
    const { pid } = await service.report()
    process.kill(service.pid, 'SIGSTOP')
    await waitUntil(() => stateOf(service.pid) === 'T', 'the service is stopped')
    process.kill(pid, 'SIGCONT')
    await new Promise((resolve) => setTimeout(resolve, stopMs))
    expect(stateOf(pid)).toBe('Z')
    process.kill(service.pid, 'SIGCONT')
    expect(await service.report()).toEqual({ ok: true })
    expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
  })
})

test.for(['snapshot', 'state'])(
  'a copy that the kernel does not let go is not waited for: %s',
  async (way, context) => {
    needsTools(context, 'cc')
    const tool = inDirectory('hold-exit')
    compileProgram(new URL('fixtures/hold_exit.c', import.meta.url), tool)
    const ticks = startTicking()
    const { taken, pid } =
      way === 'snapshot' ? holdSnapshot(bigRegion(), inDirectory('file')) : lingeringState()
    const holder = spawn(tool, [String(pid), '50'], { stdio: ['ignore', 'pipe', 'inherit'] })
    onTestFinished(() => void holder.kill('SIGKILL'))
    const ended = once(holder, 'exit').then(() => 'ended')
    const ready = await Promise.race([once(holder.stdout, 'data'), ended])
    if (ready === 'ended') context.skip('processes may not be traced here')
    taken.abort()
    expect(await rejectionOf(taken.done)).toMatchObject({ name: 'AbortError' })
    expect(ticks()).toBeGreaterThan(5)
    expect(isGone(pid)).toBe(false)
    holder.kill('SIGKILL')
    await waitUntil(() => isGone(pid), 'the copy is gone')
  },
)

test('a copy that gets hardly any processor time to die in is waited for', async (context) => {
  needsTools(context, 'taskset', 'chrt')
  const { taken, pid } = holdSnapshot(bigRegion(), inDirectory('file'))
  // On one processor, where others always come first.
  const processor = ['taskset', '-a', '-c', '-p', '0', String(pid)] as const
  const last = ['chrt', '--idle', '-a', '-p', '0', String(pid)] as const
  for (const [tool, ...options] of [processor, last]) {
    const { status, stderr } = spawnSync(tool, options, { encoding: 'utf8' })
    if (status !== 0) context.skip(`${tool}: ${stderr}`)
  }
  for (let i = 0; i < 6; i++) {
    const busy = spawn('taskset', ['-c', '0', 'sh', '-c', 'while :; do :; done'], { stdio: 'ignore' })
    onTestFinished(() => void busy.kill('SIGKILL'))
  }
  taken.abort()
  expect(await rejectionOf(taken.done)).toMatchObject({ name: 'AbortError' })
  expect(isGone(pid)).toBe(true)
})

describe('a file system that hangs', () => {
  test('is reported as stalled while it hangs, and the child is gone once it goes on', async (context) => {
    needsRoot(context, 'to mount and freeze a file system')
    needsTools(context, 'mkfs.ext4', 'losetup', 'fsfreeze')
    const mount = inDirectory('mount')
    mkdirSync(mount)
    writeFileSync(inDirectory('disk'), '')
    spawnSync('truncate', ['-s', '256M', inDirectory('disk')])
    spawnSync('mkfs.ext4', ['-q', inDirectory('disk')])
    const mounted = spawnSync('mount', ['-o', 'loop', inDirectory('disk'), mount])
    if (mounted.status !== 0) context.skip(`needs loop devices: ${mounted.stderr}`)
    const ticks = startTicking()
    const { taken, pid, release } = holdSnapshot(bigRegion(), `${mount}/file`, { stallTimeoutMs: 500 })
    const frozen = spawnSync('fsfreeze', ['--freeze', mount])
    if (frozen.status !== 0) context.skip(`this file system cannot be frozen: ${frozen.stderr}`)
    let error: unknown
    let ticked = 0
    let waitedMs = 0
    try {
      release()
      const released = performance.now()
      error = await Promise.race([
        rejectionOf(taken.done),
        new Promise((resolve) => setTimeout(() => resolve('nothing was reported'), 6000)),
      ])
      ticked = ticks()
      waitedMs = performance.now() - released
    } finally {
      spawnSync('fsfreeze', ['--unfreeze', mount])
    }
    await taken.done.catch(() => {})
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_STALLED' })
    // Freezing may have taken so long that everything was over by then.
    expect(ticked).toBeGreaterThan(Math.min(5, Math.floor(waitedMs / 50) - 1))
    await waitUntil(() => isGone(pid), 'the child is gone')
    expect(readdirSync(mount)).toEqual(['lost+found'])
    await snapshot(new Uint8Array(10), `${mount}/file`).done
  })
})
