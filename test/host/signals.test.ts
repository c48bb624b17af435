/**
 * Promise: captures do not change the signals and the children of the service, signals meant for
 * the service do not end captures, and the error for a killed child names the signal. Proved by
 * signals to the child and to the whole process group, by a thousand processes started meanwhile,
 * and by hosts that ignore SIGCHLD or wait for any child.
 */

import { readdirSync } from 'node:fs'
import { constants } from 'node:os'
import { snapshot, verify } from 'stillframe'
import { describe, expect, onTestFinished, test } from 'vitest'
import { compileLibrary } from '../support/compile.js'
import { rejectionOf } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { bigRegion, holdSnapshot } from '../support/held-snapshot.mjs'
import { longMode } from '../support/long-mode.mjs'
import { needsTools } from '../support/needs.js'
import { hasEnded, isGone, signalsIn, statOf, threadsNamed, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const signalsFixture = new URL('fixtures/signals.mjs', import.meta.url)
const someWork = new URL('../support/fixtures/some-work.mjs', import.meta.url)

/** The signals that a process causes itself, and the kernel's notification about its children. */
const { SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGCHLD, SIGKILL, SIGSTOP } = constants.signals
const own = [SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGCHLD]
const allSignals = Array.from({ length: 64 }, (_, index) => index + 1)

describe('a signal to the child', () => {
  for (const signal of ['SIGKILL', 'SIGSEGV'] as const) {
    test(`ends it with an error that names ${signal}, and no handler of the host runs`, async () => {
      const { taken, pid, release } = holdSnapshot(bigRegion(), inDirectory('file'))
      process.kill(pid, signal)
      release()
      const error = await rejectionOf(taken.done)
      expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_CHILD_DIED' })
      expect(error.message).toContain(signal)
      expect(isGone(pid)).toBe(true)
      expect(readdirSync(inDirectory())).toEqual([])
      await snapshot(new Uint8Array(10), inDirectory('file')).done
    })
  }

  test('that is meant for the service does nothing to it: the snapshot is complete, and no handler of the host runs', async () => {
    const meant = allSignals.filter((signal) => ![SIGKILL, SIGSTOP, ...own].includes(signal))
    let handled = 0
    const count = (): void => void handled++
    process.on('SIGTERM', count)
    onTestFinished(() => void process.off('SIGTERM', count))
    const { taken, pid, release } = holdSnapshot(bigRegion(), inDirectory('file'))
    for (const signal of meant) process.kill(pid, signal)
    release()
    await taken.done
    expect(handled).toBe(0)
    expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
  })

  test('meets no handler of the host: all are at their default, but SIGPIPE and SIGXFSZ are ignored', async () => {
    const handler = (): void => {}
    process.on('SIGUSR2', handler)
    onTestFinished(() => void process.off('SIGUSR2', handler))
    const { taken, pid, release } = holdSnapshot(bigRegion(), inDirectory('file'))
    expect(signalsIn(process.pid, 'SigCgt')).toContain(constants.signals.SIGUSR2)
    expect(signalsIn(pid, 'SigCgt')).toEqual([])
    expect(signalsIn(pid, 'SigBlk')).toEqual(
      allSignals.filter((signal) => ![SIGKILL, SIGSTOP, ...own].includes(signal)),
    )
    expect(signalsIn(pid, 'SigIgn')).toEqual([constants.signals.SIGPIPE, constants.signals.SIGXFSZ])
    release()
    await taken.done
  })

  // SIGSTOP cannot be blocked. The child does not get its own session: where the kernel groups by
  // session, `nice` would have no effect.
  test('that stops the process group of the service does not stop it: it has one of its own, in the same session', async () => {
    const { taken, pid, release } = holdSnapshot(bigRegion(), inDirectory('file'))
    const [service, child] = [process.pid, pid].map((each) => {
      const [, , group, session] = statOf(each) ?? []
      return { group: Number(group), session: Number(session) }
    })
    expect(child).toEqual({ group: pid, session: service?.session })
    expect(service?.group).not.toBe(pid)
    release()
    await taken.done
  })
})

describe('the signals of the service', () => {
  const handled = ['SIGTERM', 'SIGINT', 'SIGUSR2', 'SIGHUP', 'SIGQUIT', 'SIGTSTP']

  test('reach its handlers once each when they go to the whole process group, and do nothing to the snapshot', async () => {
    const service = startFixture(signalsFixture, [inDirectory('file'), ...handled], { detached: true })
    const { pid } = await service.report()
    for (const signal of handled) {
      process.kill(-service.pid, signal)
      expect(await service.report()).toEqual({ got: signal })
    }
    service.tell('release')
    const { outcome, counts } = await service.report()
    expect(outcome).toEqual({ ok: true })
    expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
    expect(counts).toEqual(Object.fromEntries(handled.map((signal) => [signal, 1])))
    expect(isGone(pid)).toBe(true)
    service.tell('end')
    expect(await service.end).toMatchObject({ status: 0, signal: null })
  })

  test('end it as ever when it has no handler, and the child with it', async () => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGUSR2'] as const) {
      const service = startFixture(signalsFixture, [inDirectory('file')], { detached: true })
      const { pid } = await service.report()
      process.kill(-service.pid, signal)
      expect(await service.end).toMatchObject({ status: null, signal })
      await waitUntil(() => hasEnded(pid), 'the child is gone')
    }
  })

  test('have the same masks and dispositions before, during and after a capture', async () => {
    const service = startFixture(signalsFixture, [inDirectory('file'), ...handled])
    await service.report()
    service.tell('release')
    const { outcome, before, during, after } = await service.report()
    expect(outcome).toEqual({ ok: true })
    expect(before).toHaveLength(5)
    expect(during).toEqual(before)
    expect(after).toEqual(before)
    service.tell('end')
    await service.end
  })

  test('are all blocked in the thread that watches over the child, but for its own faults', async () => {
    const { taken, release } = holdSnapshot(bigRegion(), inDirectory('file'))
    // A thread has the name of its creator until it sets its own.
    await waitUntil(() => threadsNamed('stillframe').length === 1, 'the other threads have their names')
    const ours = threadsNamed('stillframe')
    expect(ours).toHaveLength(1)
    // The two that cannot be blocked, those that a thread causes itself, and two that glibc
    // reserves.
    const free = [SIGKILL, SIGSTOP, SIGILL, SIGBUS, SIGFPE, SIGSEGV, 32, 33]
    const blocked = signalsIn('self', 'SigBlk', ours[0])
    expect(allSignals.filter((number) => !blocked.includes(number))).toEqual(
      free.filter((number) => !blocked.includes(number)).sort((a, b) => a - b),
    )
    release()
    await taken.done
  })
})

describe('the children of the service', () => {
  test(
    'all report how they ended, while snapshots are taken',
    async () => {
      const count = longMode ? 1000 : 300
      const fixture = startFixture(new URL('../support/fixtures/spawns.mjs', import.meta.url), [
        'snapshot',
        inDirectory(),
        String(count),
      ])
      const { started, wrong, saved } = await fixture.report(longMode ? 170_000 : undefined)
      expect(wrong).toEqual([])
      expect(started).toBe(count)
      expect(saved).toBeGreaterThan(0)
    },
    longMode ? 180_000 : undefined,
  )

  for (const disabled of ['', 'clone3']) {
    const how = disabled === '' ? '' : `, also without ${disabled}`

    test(`may be ignored: with SIGCHLD ignored, each snapshot is told how its child ended${how}`, async (context) => {
      needsTools(context, 'cc')
      const library = inDirectory('ignore_sigchld.so')
      compileLibrary(new URL('../support/fixtures/ignore_sigchld.c', import.meta.url), library)
      const fixture = startFixture(someWork, ['snapshot', inDirectory('file'), '5'], {
        preload: library,
        env: { STILLFRAME_DISABLE: disabled },
      })
      const { outcomes, killed, ignored, children } = await fixture.report()
      expect(BigInt(`0x${ignored}`) & (1n << BigInt(constants.signals.SIGCHLD - 1))).not.toBe(0n)
      expect(outcomes).toEqual(Array.from({ length: 5 }, () => ({ ok: true })))
      expect(killed).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_CHILD_DIED' })
      expect(killed.message).toContain('SIGKILL')
      expect(children).toBe(0)
    })

    test(`may be waited for by others: a foreign waitpid(-1) cannot take ours${how}`, async (context) => {
      needsTools(context, 'cc')
      const library = inDirectory('foreign_waiter.so')
      compileLibrary(new URL('../support/fixtures/foreign_waiter.c', import.meta.url), library)
      const fixture = startFixture(someWork, ['snapshot', inDirectory('file'), '20'], {
        preload: library,
        env: { STILLFRAME_DISABLE: disabled },
      })
      const { outcomes, killed, children } = await fixture.report()
      expect(outcomes).toEqual(Array.from({ length: 20 }, () => ({ ok: true })))
      expect(killed).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_CHILD_DIED' })
      expect(killed.message).toContain('SIGKILL')
      expect(children).toBe(0)
      // The waiter's own child proves that the waiter was working.
      expect((await fixture.end).stderr).toBe('took own 7\n')
    })
  }
})
