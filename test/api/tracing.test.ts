/**
 * Promise: a listener on the channels of a snapshot receives each step once and in Node's order,
 * and changes nothing by listening; without a listener, nothing is created. Proved with a stand-in
 * for the addon that ends captures when the test says so.
 */

import { AsyncLocalStorage } from 'node:async_hooks'
import { tracingChannel } from 'node:diagnostics_channel'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Traced, Tracer } from '../../lib/base/tracing.js'
import {
  type Snapshot,
  type SnapshotOptions,
  type SnapshotTrace,
  type Source,
  StillframeError,
  snapshot,
} from '../../lib/index.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { catchUnseen } from '../support/unseen.js'
import { FakeAddon, FakeCapture, nativeFailure, settle } from './fake-addon.js'

let fake = new FakeAddon()
vi.mock('../../lib/addon/load.js', () => ({ loadAddon: () => fake.asAddon() }))

const path = '/tmp/never-written.stillframe'
const memory = new ArrayBuffer(100)
const take = (options?: SnapshotOptions): Snapshot => snapshot(memory, path, options)
const diskFull = nativeFailure('NO_SPACE', { message: 'cannot write', errno: 28, errnoName: 'ENOSPC' })

const channels = tracingChannel<unknown, SnapshotTrace>('stillframe.snapshot')
const events = ['start', 'end', 'asyncStart', 'asyncEnd', 'error'] as const
type Listener = (message: unknown) => void
let subscribed: [event: (typeof events)[number], listener: Listener][] = []
const { unhandled, uncaught } = catchUnseen()

beforeEach(() => {
  fake = new FakeAddon()
})

afterEach(() => {
  for (const [event, listener] of subscribed) channels[event].unsubscribe(listener)
  subscribed = []
})

function on(event: (typeof events)[number], listener: (context: SnapshotTrace) => void): void {
  channels[event].subscribe(listener as Listener)
  subscribed.push([event, listener as Listener])
}

/** Records every event from here on, with its context and a copy of the context at that time. */
function listen(): { seen: string[]; contexts: SnapshotTrace[]; copies: SnapshotTrace[] } {
  const heard = { seen: [] as string[], contexts: [] as SnapshotTrace[], copies: [] as SnapshotTrace[] }
  for (const event of events) {
    on(event, (context) => {
      heard.seen.push(event)
      heard.contexts.push(context)
      heard.copies.push({ ...context })
    })
  }
  return heard
}

describe('the events come in the order of a promise that Node traces', () => {
  test('of a snapshot that goes well, with one context that fills up', async () => {
    const { seen, contexts, copies } = listen()
    const shot = take()
    expect(seen).toEqual(['start', 'end'])
    const known = { id: shot.id, path }
    const { engine, faultHandling, pauseMs, frozenAt } = shot
    const frozen = { engine, faultHandling, pauseMs, frozenAt, sections: ['main'], byteLength: 100 }
    expect(copies).toEqual([known, { ...known, ...frozen }])
    const done = shot.done.then(() => seen.push('done'))
    FakeCapture.last.succeed()
    await done
    expect(seen).toEqual(['start', 'end', 'asyncStart', 'asyncEnd', 'done'])
    expect(new Set(contexts).size).toBe(1)
    expect(copies.slice(2).map(({ result }) => result)).toEqual([await shot.done, await shot.done])
    expect(copies[3]).not.toHaveProperty('error')
    expect(copies[3]).not.toHaveProperty('aborted')
  })

  test('of a snapshot that fails later: one error, the one that done rejects with', async () => {
    const { seen, contexts } = listen()
    const shot = take()
    const rejection = rejectionOf(shot.done).then((error) => {
      seen.push('done')
      return error
    })
    FakeCapture.last.fail(diskFull)
    expect(contexts[0]?.error).toBe(await rejection)
    expect(seen).toEqual(['start', 'end', 'error', 'asyncStart', 'asyncEnd', 'done'])
    expect(contexts[0]).not.toHaveProperty('result')
    expect(contexts[0]).not.toHaveProperty('aborted')
  })

  test('of a call that throws: one error, and nothing later', async () => {
    const { seen, contexts } = listen()
    fake.captureFailure = diskFull
    const error = thrownBy(() => take())
    expect(error).toBeInstanceOf(StillframeError)
    expect(contexts[0]?.error).toBe(error)
    await settle()
    expect(seen).toEqual(['start', 'error', 'end'])
  })

  test('wrong arguments are nothing that happens', () => {
    const { seen } = listen()
    thrownBy(() => take({ engin: 'auto' } as object))
    thrownBy(() => snapshot(memory, 7 as never))
    expect(seen).toEqual([])
  })
})

describe('an abort is told as one', () => {
  test('by abort(), with the reason', async () => {
    const { seen, contexts } = listen()
    const shot = take()
    const reason = new Error('shutting down')
    shot.abort(reason)
    expect(await rejectionOf(shot.done)).toBe(reason)
    expect(contexts[0]).toMatchObject({ aborted: true, error: reason })
    expect(seen).toEqual(['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
  })

  test('by a signal that is aborted later', async () => {
    const { contexts } = listen()
    const controller = new AbortController()
    const shot = take({ signal: controller.signal })
    controller.abort()
    expect(await rejectionOf(shot.done)).toBe(controller.signal.reason)
    expect(contexts[0]).toMatchObject({ aborted: true, error: controller.signal.reason })
  })

  test('by a signal that was aborted before', () => {
    const { seen, contexts } = listen()
    const signal = AbortSignal.abort()
    expect(thrownBy(() => take({ signal }))).toBe(signal.reason)
    expect(contexts[0]).toMatchObject({ aborted: true, error: signal.reason })
    expect(seen).toEqual(['start', 'error', 'end'])
  })

  test('by a listener of start, before anything is frozen', () => {
    const controller = new AbortController()
    on('start', () => controller.abort())
    expect(thrownBy(() => take({ signal: controller.signal }))).toBe(controller.signal.reason)
  })
})

describe('listening changes nothing', () => {
  test('a failure that only listeners have heard of is unhandled, once', async () => {
    const { seen } = listen()
    take()
    FakeCapture.last.fail(diskFull)
    await settle()
    expect(seen).toContain('error')
    expect(unhandled).toEqual([expect.objectContaining({ code: 'ERR_STILLFRAME_NO_SPACE' })])
  })

  test.each(events)('a listener of %s that throws is an uncaught exception of its own', async (event) => {
    const thrown = new Error('of the listener')
    on(event, () => {
      throw thrown
    })
    const { seen } = listen()
    const shot = take()
    FakeCapture.last.succeed()
    expect((await shot.done).id).toBe(shot.id)
    const failing = take()
    const rejection = rejectionOf(failing.done)
    FakeCapture.last.fail(diskFull)
    expect(await rejection).toMatchObject({ code: 'ERR_STILLFRAME_NO_SPACE' })
    await settle()
    expect(uncaught).toEqual(seen.filter((name) => name === event).map(() => thrown))
    expect(unhandled).toEqual([])
  })

  test('memory that a listener of start closes is refused, as if it had been closed before', () => {
    const buffer = new ArrayBuffer(64)
    on('start', () => structuredClone(buffer, { transfer: [buffer] }))
    expect(thrownBy(() => snapshot(buffer as Source, path))).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  })
})

describe('stores that are bound to start', () => {
  test('are there in the call, in its callbacks, and at the end, and not elsewhere', async () => {
    const store = new AsyncLocalStorage<string>()
    channels.start.bindStore(store, ({ id }: SnapshotTrace) => id)
    try {
      // A set, since a slow machine reports more progress.
      const stores = new Set<string>()
      const note = (event: string) => (): void => {
        stores.add(`${event} ${store.getStore()}`)
      }
      for (const event of events.filter((name) => name !== 'error')) on(event, note(event))
      const shot = take({ onProgress: note('progress') })
      expect(store.getStore()).toBeUndefined()
      await new Promise<void>((resolve) => {
        setImmediate(() => {
          FakeCapture.last.succeed()
          resolve()
        })
      })
      await shot.done
      expect(store.getStore()).toBeUndefined()
      expect([...stores]).toEqual(
        ['start', 'end', 'progress', 'asyncStart', 'asyncEnd'].map((event) => `${event} ${shot.id}`),
      )
    } finally {
      channels.start.unbindStore(store)
    }
  })

  test('are bound without any subscriber', () => {
    const store = new AsyncLocalStorage<SnapshotTrace>()
    channels.start.bindStore(store)
    try {
      fake.captureFailure = diskFull
      const source = {
        get main() {
          seen.push(store.getStore()?.path)
          return memory
        },
      }
      const seen: unknown[] = []
      thrownBy(() => snapshot(source, path))
      expect(seen).toEqual([path])
    } finally {
      channels.start.unbindStore(store)
    }
  })
})

describe('without a listener', () => {
  test('no context is made, and nobody is told', async () => {
    const tracer = new Tracer<Traced<number>>('of.the.test')
    const contextOf = vi.fn(() => ({}))
    expect(tracer.call(contextOf, undefined, (trace) => trace)).toBeUndefined()
    expect(await tracer.promise(contextOf, undefined, async () => 7)).toBe(7)
    expect(contextOf).not.toHaveBeenCalled()
    const listener = (): void => {}
    const end = tracingChannel('stillframe.of.the.test').end
    end.subscribe(listener)
    expect(tracer.call(contextOf, undefined, (trace) => trace)).toBeDefined()
    expect(contextOf).toHaveBeenCalledTimes(1)
    end.unsubscribe(listener)
    expect(tracer.call(contextOf, undefined, (trace) => trace)).toBeUndefined()
    expect(contextOf).toHaveBeenCalledTimes(1)
  })

  test('a snapshot stays untold to its end, so that nobody hears an end without a start', async () => {
    const shot = take()
    const { seen } = listen()
    FakeCapture.last.succeed()
    await shot.done
    expect(seen).toEqual([])
  })
})
