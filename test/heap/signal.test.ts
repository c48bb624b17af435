/**
 * Promise: with `--import stillframe/heap/signal` a running service writes a heap snapshot of
 * itself on a signal, and no failure of that snapshot harms the service. Proved on a separate
 * service without any knowledge of it, which gets real signals and answers over a real socket.
 */

import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { describe, expect, type TestContext, test } from 'vitest'
import { type Fixture, type FixtureOptions, startFixture } from '../support/fixture.js'
import { heldCopyOf, holdCopies } from '../support/held-copy.js'
import { needsReadableCheckout, needsRoot } from '../support/needs.js'
import { childrenOf, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const libraryIn = useTemporaryDirectory()
const program = new URL('fixtures/signal-service.mjs', import.meta.url)
const root = new URL('../..', import.meta.url)

interface Service {
  readonly fixture: Fixture
  readonly pid: number
  /** All output so far. */
  stdout(): string
  stderr(): string
  /** Waits until this text has appeared on `times` lines. */
  says(text: string, times?: number): Promise<void>
  answers(): Promise<void>
}

async function startService(
  env: Record<string, string> = {},
  wishes: readonly string[] = [],
  options: FixtureOptions = {},
): Promise<Service> {
  const fixture = startFixture(program, wishes, {
    // Node resolves a package name relative to the working directory.
    cwd: inDirectory(),
    nodeOptions: ['--import', pathToFileURL(new URL('dist/heap/signal.js', root).pathname).href],
    ...options,
    env: { STILLFRAME_HEAP_DIR: inDirectory(), ...env },
  })
  let stdout = ''
  let stderr = ''
  fixture.child.stdout?.on('data', (chunk) => {
    stdout += chunk
  })
  fixture.child.stderr?.on('data', (chunk) => {
    stderr += chunk
  })
  const { port } = await fixture.report()
  return {
    fixture,
    pid: fixture.pid,
    stdout: () => stdout,
    stderr: () => stderr,
    says: async (text, times = 1) => {
      const said = (): boolean => stderr.split(text).length > times
      await waitUntil(said, `it had said so ${times} times: "${text}"`).catch((error) => {
        throw new Error(`${error.message}. It said:\n${stderr}`)
      })
    },
    answers: async () => {
      const response = await fetch(`http://127.0.0.1:${port}/`)
      expect(Number(await response.text())).toBeGreaterThan(0)
    },
  }
}

async function startHolding(context: TestContext, copies = 1): Promise<Service> {
  const { preload, env } = holdCopies(context, libraryIn('held_copy.so'), copies)
  return await startService(env, [], { preload })
}

const saved = 'MiB after'
const snapshots = (directory = inDirectory()): string[] =>
  readdirSync(directory).filter((name) => name.endsWith('.heapsnapshot'))

/** Requests a snapshot whose copy is held. */
async function heldAtSignal(service: Service): Promise<number> {
  process.kill(service.pid, 'SIGUSR2')
  const copy = await heldCopyOf(service.pid)
  await service.says('writing a heap snapshot')
  return copy
}

describe('a signal', () => {
  test('makes a heap snapshot of the running service, which goes on and whose stdout stays its own', async () => {
    const service = await startService()
    process.kill(service.pid, 'SIGUSR2')
    await service.says(saved)
    await service.answers()
    const [name = '', ...more] = snapshots()
    expect(more).toEqual([])
    expect(name).toMatch(
      new RegExp(`^heap-${service.pid}-\\d{4}-\\d\\d-\\d\\dT[\\d-]+\\.\\d+Z\\.heapsnapshot$`),
    )
    expect(statSync(inDirectory(name)).mode & 0o777).toBe(0o600)
    const { snapshot, nodes, strings } = JSON.parse(readFileSync(inDirectory(name), 'utf8'))
    expect(nodes.length).toBe(snapshot.node_count * snapshot.meta.node_fields.length)
    expect(strings).toContain(`held-by-${service.pid}`)
    expect(service.stdout()).toMatch(/^\{"port":\d+\}\n$/)
    expect(
      service
        .stderr()
        .split('\n')
        .filter((line) => line && !line.startsWith('stillframe: ')),
    ).toEqual([])
    service.fixture.child.stdin?.end()
    expect(await service.fixture.end).toMatchObject({ status: 0, signal: null })
  })

  test('reaches the listeners of the service as well', async () => {
    const service = await startService({}, ['listener'])
    process.kill(service.pid, 'SIGUSR2')
    expect(await service.fixture.report()).toEqual({ heard: 'SIGUSR2' })
    await service.says(saved)
    expect(snapshots()).toHaveLength(1)
  })

  test('while V8 is busy is answered as soon as it is not', async () => {
    const service = await startService({ STILLFRAME_DISABLE: '' }, ['busy'])
    process.kill(service.pid, 'SIGUSR2')
    await service.says("V8's threads are busy")
    expect(snapshots()).toEqual([])
    await service.answers()
    await service.says(saved)
    expect(snapshots()).toHaveLength(1)
  })

  test('while one is being written is told and ignored; the next one counts again', async (context) => {
    const service = await startHolding(context)
    const copy = await heldAtSignal(service)
    process.kill(service.pid, 'SIGUSR2')
    await service.says('is already being written')
    expect(childrenOf(service.pid)).toEqual([copy])
    await service.answers()
    process.kill(copy, 'SIGCONT')
    await service.says(saved)
    process.kill(service.pid, 'SIGUSR2')
    await service.says(saved, 2)
    expect(snapshots()).toHaveLength(2)
  })

  test('may be another one: SIGUSR1, which then does not start the inspector', async () => {
    const service = await startService({ STILLFRAME_HEAP_SIGNAL: 'SIGUSR1' })
    await service.says('does not start the inspector')
    process.kill(service.pid, 'SIGUSR1')
    await service.says(saved)
    expect(snapshots()).toHaveLength(1)
    expect(service.stderr()).not.toContain('Debugger')
  })

  test('makes one file in a process with Workers, and what is told at the start is told once', async () => {
    const settings = { STILLFRAME_HEAP_KEEP: 'many', STILLFRAME_HEAP_SIGNAL: 'SIGUSR1' }
    const service = await startService(settings, ['worker'])
    process.kill(service.pid, 'SIGUSR1')
    await service.says(saved)
    expect(snapshots()).toHaveLength(1)
    expect(service.stderr().split('STILLFRAME_HEAP_KEEP')).toHaveLength(2)
    expect(service.stderr().split('does not start the inspector')).toHaveLength(2)
  })
})

describe('files', () => {
  test('of this process are kept up to the number that was set, the latest ones; others stay', async () => {
    const service = await startService({ STILLFRAME_HEAP_KEEP: '2' })
    // Names as left by an earlier process with the same id.
    const others = [`heap-${service.pid}-2020-01-01T00-00-00.000Z.heapsnapshot`, 'heap-1-x.heapsnapshot']
    for (const name of others) writeFileSync(inDirectory(name), '')
    const seen: string[] = []
    for (let time = 1; time <= 4; time++) {
      process.kill(service.pid, 'SIGUSR2')
      await service.says(saved, time)
      // The line is printed before the removal.
      await service.answers()
      seen.push(...snapshots().filter((name) => !others.includes(name) && !seen.includes(name)))
    }
    expect(seen).toHaveLength(4)
    expect(snapshots().sort()).toEqual([...others, ...seen.slice(-2)].sort())
  })

  test('go to the working directory of the start when no directory is set', async () => {
    const service = await startService({ STILLFRAME_HEAP_DIR: '' })
    process.kill(service.pid, 'SIGUSR2')
    await service.says(saved)
    expect(snapshots()).toHaveLength(1)
  })
})

describe('the service goes on', () => {
  test('without the directory, which is told at the start and at the signal; when it is there, it is used', async () => {
    const absent = inDirectory('absent')
    const service = await startService({ STILLFRAME_HEAP_DIR: absent })
    await service.says('SIGUSR2 cannot currently write a heap snapshot')
    await service.says(absent)
    process.kill(service.pid, 'SIGUSR2')
    await service.says('stillframe: no heap snapshot: ')
    await service.answers()
    mkdirSync(absent)
    process.kill(service.pid, 'SIGUSR2')
    await service.says(saved)
    expect(snapshots(absent)).toHaveLength(1)
  })

  test('with a directory that it may not write to', async (context) => {
    needsRoot(context, 'to become another user')
    const wrapper = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
    needsReadableCheckout(context, wrapper)
    const closed = inDirectory('closed')
    mkdirSync(closed)
    const service = await startService({ STILLFRAME_HEAP_DIR: closed }, [], { wrapper })
    await service.says('EACCES')
    process.kill(service.pid, 'SIGUSR2')
    await service.says('stillframe: no heap snapshot: ')
    await service.answers()
    chownSync(closed, 65534, 65534)
    chmodSync(closed, 0o700)
    process.kill(service.pid, 'SIGUSR2')
    await service.says(saved)
  })

  test('without the addon: told at the start, and the signal does not end it', async () => {
    const service = await startService({ STILLFRAME_HEAP_ADDON: inDirectory('absent.node') })
    await service.says('SIGUSR2 cannot currently write a heap snapshot')
    await service.says('absent.node')
    process.kill(service.pid, 'SIGUSR2')
    await service.says('stillframe: no heap snapshot: ')
    await service.answers()
    expect(snapshots()).toEqual([])
  })

  test('when the copies of both attempts are killed, and the next signal has its file', async (context) => {
    const service = await startHolding(context, 2)
    process.kill(await heldAtSignal(service), 'SIGKILL')
    process.kill(await heldCopyOf(service.pid), 'SIGKILL')
    await service.says('no heap snapshot: ')
    expect(service.stderr()).not.toContain(saved)
    await service.answers()
    expect(readdirSync(inDirectory())).toEqual([])
    process.kill(service.pid, 'SIGUSR2')
    await service.says(saved)
    expect(snapshots()).toHaveLength(1)
  })

  test('when nobody reads its stderr any more', async () => {
    const service = await startService()
    service.fixture.child.stderr?.destroy()
    process.kill(service.pid, 'SIGUSR2')
    await waitUntil(() => snapshots().length === 1, 'there was a snapshot')
    await service.answers()
  })

  test('with settings that cannot be used: they are told, and the signals that end it still do', async () => {
    const service = await startService({ STILLFRAME_HEAP_SIGNAL: 'SIGTERM', STILLFRAME_HEAP_KEEP: '0' })
    await service.says("STILLFRAME_HEAP_SIGNAL: 'SIGTERM'")
    await service.says("STILLFRAME_HEAP_KEEP: '0'")
    process.kill(service.pid, 'SIGUSR2')
    await service.says(saved)
    process.kill(service.pid, 'SIGTERM')
    expect(await service.fixture.end).toMatchObject({ status: null, signal: 'SIGTERM' })
  })

  test('and ends when it has nothing more to do', async () => {
    const fixture = startFixture(program, ['short'], {
      nodeOptions: ['--import', 'stillframe/heap/signal'],
      env: { STILLFRAME_HEAP_DIR: inDirectory() },
    })
    expect(await fixture.report()).toEqual({ done: true })
    expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
  })
})
