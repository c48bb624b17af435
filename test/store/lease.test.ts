/**
 * Promise: a reader that has been granted a lease loses no object of it while it is held, whatever
 * the writer does between any two of the reader's steps, and however slow the store is (I15, I17).
 *
 * Proved by letting a writer drop and collect frames exactly there, with clocks that the test
 * advances.
 */

import { expect, test } from 'vitest'
import { openForReading } from '../../lib/archive/remote/remote-reader.js'
import type { RemoteFrame } from '../../lib/archive/remote/remote-state.js'
import { openForWriting, type RemoteWriter } from '../../lib/archive/remote/remote-writer.js'
import { realSurroundings, type Surroundings } from '../../lib/archive/remote/surroundings.js'
import { type ObjectStore, storeFailure } from '../../lib/store/store.js'
import { MemoryStore } from './memory-store.js'

const graceMs = 20_000
const settleMs = 60_000
const leaseMs = 600_000

/** A store whose clock the test advances, and an archive with one frame in it. */
class Scene {
  nowMs = 1_700_000_000_000
  readonly store = new MemoryStore({ now: () => this.nowMs })
  readonly #sleepers: { dueMs: number; wake: () => void }[] = []
  readonly surroundings: Surroundings = {
    ...realSurroundings,
    monotonicMs: () => this.nowMs,
    sleep: async (ms, { idle = false } = {}) => {
      if (idle) await new Promise<void>((wake) => this.#sleepers.push({ dueMs: this.nowMs + ms, wake }))
    },
  }
  writer!: RemoteWriter

  static async made(): Promise<Scene> {
    const scene = new Scene()
    const { store, surroundings } = scene
    scene.writer = await openForWriting(store, { surroundings, graceMs, settleMs })
    await scene.add(1)
    return scene
  }

  async add(number: number): Promise<void> {
    await this.store.put(keyOf(number), Buffer.from([number]))
    const objects = { memory: [{ key: keyOf(number), size: 1, crc32: '00000000' }] }
    const frame = { number, id: `f${number}`, objects } as unknown as RemoteFrame
    await this.writer.commit((frames) => [...frames, frame])
  }

  /** Advances the clock in steps shorter than any period, and wakes every sleeper that is due. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms
    while (this.nowMs < endMs) {
      this.nowMs = Math.min(endMs, this.nowMs + 10_000)
      for (const sleeper of this.#sleepers.splice(0)) {
        if (sleeper.dueMs <= this.nowMs) sleeper.wake()
        else this.#sleepers.push(sleeper)
      }
      await new Promise(setImmediate)
    }
  }

  /** Replaces all frames by a new one, and collects until every expired object has been removed. */
  async replaceAll(number: number): Promise<void> {
    await this.add(number)
    await this.writer.commit((frames) => frames.slice(-1))
    for (let round = 0; round < 4; round++) {
      await this.pass(settleMs + graceMs)
      await this.writer.collect()
    }
  }
}

const keyOf = (number: number) => `data/f${number}/n/m000000`

/** The same store for a slow client: `before` runs before each call. */
function slow(store: MemoryStore, before: (method: string, key: string) => Promise<void>): ObjectStore {
  return {
    async put(key, body, options) {
      await before('put', key)
      return await store.put(key, body, options)
    },
    get: async (key, options) => await store.get(key, options),
    head: async (key) => await store.head(key),
    async *list(prefix) {
      const objects = []
      for await (const object of store.list(prefix)) objects.push(object)
      await before('listed', prefix)
      yield* objects
    },
    async delete(key) {
      await before('delete', key)
      await store.delete(key)
    },
    upload: async (key, stream, options) => await store.upload(key, stream, options),
  }
}

test('all is replaced and removed before the lease is put: it is of a later version', async () => {
  const scene = await Scene.made()
  const { surroundings } = scene
  let isReplaced = false
  const store = slow(scene.store, async (method, key) => {
    if (isReplaced || method !== 'put' || !key.startsWith('lease/')) return
    isReplaced = true
    await scene.replaceAll(2)
  })
  const reader = await openForReading(store, { surroundings })
  const lease = await reader.lease(leaseMs)
  expect(isReplaced).toBe(true)
  expect(scene.store.objects.has(keyOf(1))).toBe(false)
  expect(lease.frames.map(({ number }) => number)).toEqual([2])
  await lease.release()
})

test('a lease that is put after the collector has looked holds what it names', async () => {
  const scene = await Scene.made()
  const { surroundings, writer } = scene
  await scene.add(2)
  await writer.collect()
  let goOn = (): void => {}
  const stopped = new Promise<void>((stop) => {
    goOn = stop
  })
  const slowly = slow(scene.store, async (method, key) => {
    if (method === 'put' && key.startsWith('lease/')) await stopped
  })
  const leasing = (await openForReading(slowly, { surroundings })).lease(leaseMs)
  await new Promise(setImmediate)
  await writer.commit((frames) => frames.slice(1))
  await scene.pass(settleMs + graceMs)
  const watched = slow(scene.store, async (method, prefix) => {
    if (method !== 'listed' || prefix !== 'lease/') return
    goOn()
    await leasing
  })
  const again = await openForWriting(watched, { surroundings, graceMs, settleMs })
  await again.collect()
  const lease = await leasing
  for (const frame of lease.frames) expect(scene.store.objects.has(keyOf(frame.number))).toBe(true)
  await lease.release()
})

test('a lease that a list does not show yet holds all the same', async () => {
  const scene = await Scene.made()
  const { surroundings, writer } = scene
  await scene.add(2)
  await scene.add(3)
  const reader = await openForReading(scene.store, { surroundings })
  const lease = await reader.lease(leaseMs)
  const leaseKeys = [...scene.store.objects.keys()].filter((key) => key.startsWith('lease/'))
  await writer.commit((frames) => frames.slice(1))
  await scene.pass(graceMs + 10_000)
  const lagging: ObjectStore = slow(scene.store, async () => {})
  lagging.list = async function* (prefix) {
    for await (const object of scene.store.list(prefix)) if (!leaseKeys.includes(object.key)) yield object
  }
  const next = await openForWriting(lagging, { surroundings, graceMs, settleMs })
  for (let round = 0; round < 4; round++) {
    await scene.pass(10_000)
    await next.collect()
  }
  expect(scene.store.objects.has(keyOf(1))).toBe(true)
  await lease.release()
})

test('a lease is renewed for as long as it is held, and what it held goes after it', async () => {
  const scene = await Scene.made()
  const reader = await openForReading(scene.store, scene)
  const lease = await reader.lease(leaseMs)
  await scene.replaceAll(2)
  await scene.pass(leaseMs * 3)
  await scene.writer.collect()
  expect(lease.isHeld).toBe(true)
  expect(scene.store.objects.has(keyOf(1))).toBe(true)
  await lease.release()
  expect(lease.isHeld).toBe(false)
  expect(lease.signal.aborted).toBe(false)
  await scene.writer.collect()
  expect([...scene.store.objects.keys()].filter((key) => /^(lease|data\/f1)\//.test(key))).toEqual([])
})

test('a lease whose renewals fail is told to have lapsed before anybody else may find so', async () => {
  const scene = await Scene.made()
  let isOut = false
  const store = slow(scene.store, async (method, key) => {
    if (isOut && method === 'put') throw storeFailure(key, 'no route')
  })
  const lease = await (await openForReading(store, scene)).lease(leaseMs)
  isOut = true
  await scene.pass(leaseMs - 10_000)
  expect([lease.isHeld, lease.signal.aborted]).toEqual([true, false])
  await scene.pass(10_000)
  expect([lease.isHeld, lease.signal.aborted]).toEqual([false, true])
  expect((lease.signal.reason as { code?: string }).code).toBe('ERR_STILLFRAME_IO')
  isOut = false
  await scene.pass(leaseMs)
  expect(lease.isHeld).toBe(false)
})

test('a renewal that is answered too late does not count, and one counts from when it was sent', async () => {
  const scene = await Scene.made()
  let isFirst = true
  const store = slow(scene.store, async (method, key) => {
    if (method !== 'put' || !key.startsWith('lease/')) return
    // Others advance the clock meanwhile.
    const dueMs = scene.nowMs + (isFirst ? 0 : leaseMs / 2)
    isFirst = false
    while (scene.nowMs < dueMs) await new Promise(setImmediate)
  })
  const lease = await (await openForReading(store, scene)).lease(leaseMs)
  // In units of leaseMs: the renewal is sent at 0.25 and answered at 0.75, so the lease lasts until
  // 1.25. The next renewal is sent at 1, and answered at 1.5.
  await scene.pass(leaseMs * 1.25 - 10_000)
  expect(lease.isHeld).toBe(true)
  await scene.pass(10_000)
  expect([lease.isHeld, lease.signal.aborted]).toEqual([false, true])
  await scene.pass(leaseMs * 0.3)
  expect(lease.isHeld).toBe(false)
})
