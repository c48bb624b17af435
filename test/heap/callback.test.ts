/**
 * Promise: the callback of snapshotState() runs in an isolated copy. An exception that it throws is
 * returned as an error, operations that cannot work there are refused with an explanation, and its
 * side effects never reach the service. Proved with callbacks that do all of that, and by
 * inspecting the service afterwards.
 */

import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import { Region } from 'stillframe'
import { type StateWriter, snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import { describe, expect, onTestFinished, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { temporaryFilesIn, useTemporaryDirectory } from '../support/temporary-directory.js'
import { valuesOf } from './values-of.js'

const inDirectory = useTemporaryDirectory()

/**
 * The parts of WebAssembly used here. Of TypeScript's libraries, only the one for browsers declares
 * them.
 */
const { Instance, Module } = Reflect.get(globalThis, 'WebAssembly') as {
  Module: new (program: Uint8Array) => object
  Instance: new (module: object) => { exports: { f: () => number } }
}

/** Returns the error of a snapshot with this callback. */
async function failureOf(callback: () => unknown): Promise<Error & { code?: string }> {
  const job = snapshotState(inDirectory('file'), callback as () => void)
  const error = await rejectionOf(job.done)
  expect(temporaryFilesIn(inDirectory())).toEqual([])
  return error
}

describe('what the callback throws is the cause', () => {
  class OwnError extends RangeError {
    override name = 'OwnError'
    code = 'EOWN'
  }
  const hostile = new Proxy(
    {},
    {
      get() {
        throw new Error('get')
      },
      getPrototypeOf() {
        throw new Error('getPrototypeOf')
      },
    },
  )
  const withGetter = Object.defineProperty(new Error('x'), 'message', {
    get() {
      throw new Error('in the getter')
    },
  })

  const round = new Error('round')
  round.cause = { of: round }

  test.each<[string, unknown, unknown]>([
    ['an error', new TypeError('too bad'), { name: 'TypeError', message: 'too bad' }],
    ['one of its own kind', new OwnError('own'), { name: 'OwnError', message: 'own', code: 'EOWN' }],
    ['an error with a cause', new Error('outer', { cause: 5 }), { message: 'outer' }],
    ['one with a cause that cannot be cloned', new Error('outer', { cause: () => {} }), { message: 'outer' }],
    ['one whose cause leads back to it', round, { message: 'round' }],
    ['a DOMException', AbortSignal.abort().reason, { name: 'AbortError', code: 20 }],
    ['a text', 'just a text', 'just a text'],
    ['a number', 5, 5],
    ['null', null, null],
    ['undefined', undefined, undefined],
    ['an object', { why: ['because'] }, { why: ['because'] }],
    ['a symbol', Symbol('why'), 'Symbol(why)'],
    ['a function', () => 1, '() => 1'],
    ['what throws when it is looked at', hostile, 'something that cannot be described'],
    ['an error whose message throws', withGetter, 'something that cannot be described'],
  ])('%s', async (_, thrown, cause) => {
    const error = await failureOf(() => {
      throw thrown
    })
    expect(error).toMatchObject({
      name: 'StillframeError',
      code: 'ERR_STILLFRAME_CALLBACK',
      path: inDirectory('file'),
    })
    expect(error.message).toMatch(/the callback threw: ./)
    if (cause instanceof Object || typeof cause === 'object')
      expect(error.cause).toMatchObject(cause as object)
    else expect(error.cause).toBe(cause)
    expect('cause' in error).toBe(cause !== undefined)
    expect(error.stack).toContain('failureOf')
  })

  test('an error with the place in the callback where it arose', async () => {
    const error = await failureOf(function theCallback() {
      throw new Error('here')
    })
    expect((error.cause as Error).stack).toMatch(/Error: here\n\s+at theCallback/)
  })

  test.each([
    ['a message', Object.assign(new RangeError('long '.repeat(1e6)), { code: 'ELONG' })],
    ['a message of wide characters', Object.assign(new RangeError('€'.repeat(1e6)), { code: 'ELONG' })],
  ])('of %s that is too long, its beginning', async (_, thrown) => {
    const { code, cause } = await failureOf(() => {
      throw thrown
    })
    expect(code).toBe('ERR_STILLFRAME_CALLBACK')
    expect(cause).toMatchObject({ name: 'RangeError', code: 'ELONG' })
    expect(thrown.message.startsWith((cause as Error).message)).toBe(true)
    expect((cause as Error).message.length).toBeGreaterThanOrEqual(10_000)
  })

  test('a value that cannot be cloned', async () => {
    const job = snapshotState(inDirectory('file'), (out) => {
      out.value({ fine: true })
      out.value({ call: () => {} })
    })
    const error = await rejectionOf(job.done)
    expect(error.code).toBe('ERR_STILLFRAME_CALLBACK')
    expect((error.cause as Error).message).toMatch(/could not be cloned/)
  })

  test('endless recursion', async () => {
    const recurse = (): number => recurse() + 1
    expect(await failureOf(recurse)).toMatchObject({
      code: 'ERR_STILLFRAME_CALLBACK',
      cause: { name: 'RangeError' },
    })
  })

  test('a trap of WebAssembly, as everywhere else', async () => {
    // One function that reads far beyond a memory of one page.
    const program = [
      '0061736d01000000',
      '01050160',
      '00017f',
      '03020100',
      '0503010001',
      '0705010166',
      '0000',
      '0a0d010b0041808080fc072802000b',
    ].join('')
    const { f } = new Instance(new Module(Buffer.from(program, 'hex'))).exports
    expect(await failureOf(f)).toMatchObject({
      code: 'ERR_STILLFRAME_CALLBACK',
      cause: { name: 'RuntimeError', message: 'memory access out of bounds' },
    })
  })
})

describe('what cannot work in the copy is refused', () => {
  test.each<[string, () => unknown, string?]>([
    ['an async function', async () => {}],
    ['a promise', () => Promise.resolve(1)],
    ['a promise that is rejected', () => Promise.reject(new Error('nobody hears'))],
    // biome-ignore lint/suspicious/noThenProperty: that is the test
    ['a thenable', () => ({ then() {} })],
    ['a generator', function* () {}, 'a generator, which is never run'],
    ['an asynchronous generator', async function* () {}, 'a generator, which is never run'],
    ['an iterator', () => new Map([[1, 2]]).values()],
    ['a stream', () => Readable.from(['a'])],
    ['a web stream', () => new Blob(['a']).stream()],
    ['a function of functions', () => () => {}],
    ['an array of promises', () => [1, 2].map(async () => {})],
  ])('a callback that would do its work later: %s', async (_, callback, says = '') => {
    writeFileSync(inDirectory('file'), 'good')
    const failure = await failureOf(callback)
    expect(failure).toMatchObject({
      code: 'ERR_STILLFRAME_CALLBACK',
      cause: {
        name: 'TypeError',
        message: expect.stringMatching(/^write must not return an? .*nothing runs/),
      },
    })
    expect(String(failure)).toContain(says)
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('good')
  })

  test.each<[string, unknown]>([
    ['a number', 1],
    ['an object', { done: true, next: 5 }],
    ['a Map', new Map([[1, () => {}]])],
    ['an array', [1, null, { a: 1 }]],
    ['what has no prototype', Object.create(null)],
  ])('a callback whose result says nothing: %s, is not', async (_, returned) => {
    const callback = ((out: StateWriter) => {
      out.write('written')
      return returned
    }) as (out: StateWriter) => void
    await snapshotState(inDirectory('file'), callback).done
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('written')
  })

  test('only where the service has not locked it: what is locked stays as it is, and the callback runs', async () => {
    const fixture = startFixture(new URL('fixtures/locked.mjs', import.meta.url), [inDirectory('file')])
    for (const what of [
      'process.exit',
      'a global that throws',
      'node:timers',
      'node:child_process',
      'ChildProcess.prototype',
      'Worker',
      'globals that are gone',
      'globalThis',
    ]) {
      expect(await fixture.report()).toEqual({ what, fileSize: expect.any(Number) })
    }
    expect(await fixture.end).toMatchObject({ status: 0, stderr: '' })
    expect(await valuesOf(inDirectory('file'))).toEqual(['globalThis'])
  })

  test('but listeners for signals, which modules add when they are loaded, come and go without effect', async () => {
    const ofService = (): void => {}
    process.on('SIGUSR2', ofService)
    onTestFinished(() => void process.off('SIGUSR2', ofService))
    await snapshotState(inDirectory('file'), (out) => {
      process.on('SIGINT', () => {})
      process.once('SIGHUP', () => {})
      process.off('SIGUSR2', ofService)
      process.removeAllListeners('SIGINT')
      out.value(process.listenerCount('SIGHUP'))
    }).done
    expect(await valuesOf(inDirectory('file'))).toEqual([1])
    // In the service, signals still reach libuv.
    const arrived = once(process, 'SIGHUP')
    process.kill(process.pid, 'SIGHUP')
    await arrived
  })

  test.each<[string, () => unknown]>([
    ['process.exit', () => process.exit(3)],
    ['process.abort', () => process.abort()],
    ['process.kill', () => process.kill(process.pid)],
    ['setTimeout', () => setTimeout(() => {}, 1)],
    ['setInterval', () => setInterval(() => {}, 1)],
    ['setImmediate', () => setImmediate(() => {})],
    ['snapshotState', () => snapshotState('/tmp/never-written', () => {})],
    ['writeHeapSnapshot', () => writeHeapSnapshot('/tmp/never-written')],
  ])('%s()', async (name, callback) => {
    const { code, cause } = await failureOf(callback)
    expect(code).toBe('ERR_STILLFRAME_CALLBACK')
    expect((cause as Error).message).toContain(`${name}() cannot be used here`)
  })

  test('modules too, whichever way the service has got hold of them, and in the copy only', async () => {
    const fixture = startFixture(new URL('fixtures/refused.mjs', import.meta.url), [inDirectory('file')])
    for (const what of [
      'child_process.spawn',
      'child_process.fork',
      'child_process.exec',
      'child_process.execFile',
      'child_process.spawnSync',
      'child_process.execSync',
      'child_process.execFileSync',
      'worker_threads.Worker',
      'cluster.fork',
      'timers.setTimeout',
      'timers.setImmediate',
      'timers.setInterval',
      // Called as functions that were taken from the module earlier.
      'child_process.spawn',
      'child_process.spawn',
      'child_process.spawn',
      'child_process.spawnSync',
      'child_process.spawnSync',
      'child_process.spawnSync',
      'worker_threads.Worker',
      'snapshot',
    ]) {
      const { code, cause } = await fixture.report()
      expect(code).toBe('ERR_STILLFRAME_CALLBACK')
      expect(cause).toContain(`${what}() cannot be used here`)
    }
    expect(await fixture.report()).toEqual({ spawned: 0, ran: 'out', worker: 'hello', immediate: true })
    expect(await fixture.end).toMatchObject({ status: 7, signal: null, stderr: '' })
  })

  test('and can be done without: what is caught in the callback does no harm', async () => {
    const job = snapshotState(inDirectory('file'), (out) => {
      try {
        process.exit(3)
      } catch {}
      out.write('written')
    })
    await job.done
    expect(readFileSync(inDirectory('file'), 'utf8')).toBe('written')
  })
})

describe('the service', () => {
  test('sees nothing of what the callback changes', async () => {
    const state = { list: [1], bytes: new Uint8Array(1 << 20), map: new Map([[1, 1]]) }
    const { cwd, title, umask } = { cwd: process.cwd(), title: process.title, umask: process.umask() }
    const { setTimeout } = globalThis
    const { exit } = process
    await snapshotState(inDirectory('file'), (out) => {
      state.list.push(2)
      state.bytes.fill(1)
      state.map.clear()
      process.chdir('/')
      process.title = 'callback'
      process.umask(0o777)
      process.env['STILLFRAME_CALLBACK'] = 'was here'
      ;(globalThis as { leaked?: boolean }).leaked = true
      out.value([state.list, state.map.size, process.cwd()])
    }).done
    expect(await valuesOf(inDirectory('file'))).toEqual([[[1, 2], 0, '/']])
    expect(state.list).toEqual([1])
    expect(state.bytes.every((byte) => byte === 0)).toBe(true)
    expect(state.map.size).toBe(1)
    expect([process.cwd(), process.title, process.umask()]).toEqual([cwd, title, umask])
    expect(process.env['STILLFRAME_CALLBACK']).toBeUndefined()
    expect(globalThis).not.toHaveProperty('leaked')
    expect(globalThis.setTimeout).toBe(setTimeout)
    expect(process.exit).toBe(exit)
  })

  test('is not spoken for: what the callback prints, and what was waiting to run, reaches nobody', async () => {
    const mark = inDirectory('mark')
    writeFileSync(mark, '')
    const fixture = startFixture(new URL('fixtures/prints.mjs', import.meta.url), [inDirectory('file'), mark])
    let output = ''
    fixture.child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString()
    })
    expect(await fixture.report()).toEqual({ outcomes: [true, true, false] })
    const { status, stderr } = await fixture.end
    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(output.split('\n').filter((line) => line !== '')).toHaveLength(1)
    // One of each by the service itself: 'exit', a timer, a microtask, process.nextTick().
    const marks = readFileSync(mark, 'utf8').trimEnd().split('\n').sort()
    expect(marks).toEqual(['exit', 'microtask', 'nextTick', 'timer'].map((what) => `${what} of the service`))
  })
})

describe('the memory of a Region', () => {
  const GiB = 2 ** 30
  const virtualBytes = (): number =>
    1024 * Number(/^VmSize:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])

  test('is not in the copy, which is why it makes no fork slower', async () => {
    using region = Region.allocate(GiB)
    new Uint8Array(region.buffer, 0, 1 << 20).fill(1)
    const before = virtualBytes()
    await snapshotState(inDirectory('file'), (out) => out.value(virtualBytes())).done
    const [inCopy] = (await valuesOf(inDirectory('file'))) as [number]
    // The copy has mapped some memory of its own.
    expect(before - inCopy).toBeGreaterThan(0.9 * GiB)
    expect(region.buffer.byteLength).toBe(GiB)
  })

  test.each<[string, (bytes: Uint8Array, put: (bytes: Uint8Array) => void) => void]>([
    ['read', (bytes) => void bytes[4096]],
    ['written', (bytes) => bytes.fill(2)],
    ['saved', (bytes, put) => put(bytes)],
  ])('cannot be %s there, and the error says what to do instead', async (_, use) => {
    using region = Region.allocate(1 << 20)
    const bytes = new Uint8Array(region.buffer).fill(1)
    const job = snapshotState(inDirectory('file'), (out) => use(bytes, (what) => out.write(what)))
    const error = await rejectionOf(job.done)
    expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_CALLBACK' })
    expect(error.message).toMatch(/the memory of a Region, which is not in the frozen copy.*snapshot\(\)/)
    expect(error.stack).toContain('callback.test.ts')
    expect(bytes.every((byte) => byte === 1)).toBe(true)
  })

  test('does not hide a crash of something else', async () => {
    using region = Region.allocate(1 << 20)
    new Uint8Array(region.buffer).fill(1)
    const job = snapshotState(inDirectory('file'), (out) => {
      out.write(new Uint8Array((1 << 20) + 1))
      const end = performance.now() + 30_000
      while (performance.now() < end);
    })
    // The library makes one more attempt, since the reason for a copy's death is unknown. Each copy
    // is killed once it has begun.
    const pids = new Set<number>()
    const poll = setInterval(() => {
      if (pids.has(job.pid) || job.progress.bytesWritten === 0) return
      pids.add(job.pid)
      process.kill(job.pid, 'SIGSEGV')
    }, 5)
    const error = await rejectionOf(job.done)
    clearInterval(poll)
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CHILD_DIED' })
    expect(error.message).toContain('SIGSEGV')
    expect(pids.size).toBe(2)
  })
})
