/**
 * Promise: one writer at a time commits to an archive in a store, answers that leave the outcome
 * open are resolved, a store without the necessary features is refused, and damage is reported
 * (I16, I17).
 *
 * Proved by writers and readers over an exact store in memory, with changes to single answers.
 */

import { afterEach, expect, test, vi } from 'vitest'
import { encodeChecked } from '../../lib/archive/checked-json.js'
import { boundaryKey, manifestKey } from '../../lib/archive/remote/names.js'
import { openForReading } from '../../lib/archive/remote/remote-reader.js'
import type { RemoteFrame } from '../../lib/archive/remote/remote-state.js'
import { openForWriting, type RemoteWriter } from '../../lib/archive/remote/remote-writer.js'
import { realSurroundings, type Surroundings } from '../../lib/archive/remote/surroundings.js'
import { storeFailure } from '../../lib/store/store.js'
import { rejectionOf } from '../support/expect-error.js'
import { MemoryStore } from './memory-store.js'

afterEach(() => vi.restoreAllMocks())

/** A clock that advances only when the test does so. */
let nowMs = 1_700_000_000_000
const surroundings: Surroundings = {
  ...realSurroundings,
  monotonicMs: () => nowMs,
  // Leases are not renewed, since their reader never wakes up. Pauses between attempts end at once.
  sleep: async (_ms, { idle = false } = {}) => (idle ? await new Promise(() => {}) : undefined),
}
const graceMs = 100_000
const settleMs = 10_000

function newStore(): MemoryStore {
  return new MemoryStore({ now: () => nowMs })
}

async function open(store: MemoryStore): Promise<RemoteWriter> {
  return await openForWriting(store, { surroundings, graceMs, settleMs })
}

/** Puts the only object of a frame, and returns the frame. */
async function framed(store: MemoryStore, number: number): Promise<RemoteFrame> {
  const key = `data/f${number}/n/m000000`
  await store.put(key, Buffer.from([number]))
  const objects = { memory: [{ key, size: 1, crc32: '00000000' }] }
  return { number, id: `f${number}`, objects } as unknown as RemoteFrame
}

async function add(writer: RemoteWriter, frame: RemoteFrame): Promise<void> {
  await writer.commit((frames) => [...frames, frame])
}

/** The next put loses its reply, after it is done or without being done. */
function losePut(store: MemoryStore, { done }: { done: boolean }): void {
  const put = store.put.bind(store)
  vi.spyOn(store, 'put').mockImplementationOnce(async (key, body, options) => {
    if (done) await put(key, body, options)
    throw storeFailure(key, 'the connection was reset')
  })
}

/**
 * Attempts a commit in which no put is answered. @returns lets the first of these puts arrive late.
 */
async function addUnanswered(
  store: MemoryStore,
  writer: RemoteWriter,
  frame: RemoteFrame,
): Promise<() => Promise<unknown>> {
  let late: (() => Promise<unknown>) | undefined
  const put = store.put.bind(store)
  const spy = vi.spyOn(store, 'put').mockImplementation(async (key, body, options) => {
    late ??= () => put(key, body, options)
    throw storeFailure(key, 'no answer')
  })
  expect(await codeOf(add(writer, frame))).toBe('ERR_STILLFRAME_IO')
  spy.mockRestore()
  return async () => await late?.()
}

const codeOf = async (promise: Promise<unknown>) => (await rejectionOf(promise)).code
const numbersOf = ({ frames }: { frames: readonly RemoteFrame[] }) => frames.map(({ number }) => number)

test('what is committed is what the next reader and the next writer find', async () => {
  const store = newStore()
  expect(await codeOf(openForReading(store, { surroundings }))).toBe('ERR_STILLFRAME_NOT_FOUND')
  const writer = await open(store)
  expect([writer.version, writer.epoch]).toEqual([1, 1])
  await add(writer, await framed(store, 1))
  await add(writer, await framed(store, 2))
  const reader = await openForReading(store, { surroundings })
  expect([reader.version, numbersOf(reader)]).toEqual([3, [1, 2]])
  await writer.commit((frames) => frames.slice(1))
  expect(numbersOf(reader)).toEqual([1, 2])
  await reader.refresh()
  expect(numbersOf(reader)).toEqual([2])
  const next = await open(store)
  expect([next.version, next.epoch, numbersOf(next)]).toEqual([5, 2, [2]])
  expect([...store.objects.keys()].filter((key) => key.startsWith('probe/'))).toEqual([])
})

test('a writer that was overtaken is told so at its next commit, and at all that follow', async () => {
  const store = newStore()
  const first = await open(store)
  const second = await open(store)
  await add(second, await framed(store, 2))
  expect(await codeOf(add(first, await framed(store, 1)))).toBe('ERR_STILLFRAME_FENCED')
  expect(first.isFenced).toBe(true)
  expect(await codeOf(first.collect())).toBe('ERR_STILLFRAME_FENCED')
  expect(await codeOf(add(first, await framed(store, 1)))).toBe('ERR_STILLFRAME_FENCED')
  expect(numbersOf(await openForReading(store, { surroundings }))).toEqual([2])
})

test('a writer that has slept until its version was removed is told so, although the store takes its manifest', async () => {
  const store = newStore()
  const sleeper = await open(store)
  const second = await open(store)
  for (let number = 1; number <= 3; number++) await add(second, await framed(store, number))
  await second.collect()
  expect(store.objects.has(manifestKey(2))).toBe(false)
  expect(await codeOf(add(sleeper, await framed(store, 9)))).toBe('ERR_STILLFRAME_FENCED')
  // The manifest is there, but does not count as a commit.
  expect(store.objects.has(manifestKey(2))).toBe(true)
  expect(numbersOf(await openForReading(store, { surroundings }))).toEqual([1, 2, 3])
  nowMs += settleMs * 2
  await second.collect()
  expect(store.objects.has(manifestKey(2))).toBe(false)
})

test('a commit whose reply was lost is known to have succeeded, and one whose request was lost is made again', async () => {
  const store = newStore()
  const writer = await open(store)
  const [first, second] = [await framed(store, 1), await framed(store, 2)]
  losePut(store, { done: true })
  await add(writer, first)
  losePut(store, { done: false })
  await add(writer, second)
  expect([writer.version, numbersOf(writer)]).toEqual([3, [1, 2]])
  expect(numbersOf(await openForReading(store, { surroundings }))).toEqual([1, 2])
})

test('a commit that nobody knows of is found out by the next one, which builds on it', async () => {
  const store = newStore()
  const writer = await open(store)
  const [first, second] = [await framed(store, 1), await framed(store, 2)]
  const arrive = await addUnanswered(store, writer, first)
  expect(writer.version).toBe(1)
  await arrive()
  await add(writer, second)
  expect([writer.version, numbersOf(writer)]).toEqual([3, [1, 2]])
})

test('a writer that was overtaken after a commit that nobody knows of is told so, not that its objects are gone', async () => {
  const store = newStore()
  const writer = await open(store)
  const [first, second] = [await framed(store, 1), await framed(store, 2)]
  const arrive = await addUnanswered(store, writer, first)
  await arrive()
  const later = await open(store)
  expect(numbersOf(later)).toEqual([1])
  // The later writer takes this object for the remains of an upload.
  await store.delete('data/f2/n/m000000')
  expect(await codeOf(add(writer, second))).toBe('ERR_STILLFRAME_FENCED')
})

test('after a commit that nobody knows of, a collection settles it before it removes anything', async () => {
  const store = newStore()
  const writer = await open(store)
  const frame = await framed(store, 1)
  nowMs += graceMs * 2
  const arrive = await addUnanswered(store, writer, frame)
  await writer.collect()
  expect(writer.version).toBe(2)
  expect(await codeOf(arrive())).toBe('ERR_STILLFRAME_EXISTS')
  expect(numbersOf(await openForReading(store, { surroundings }))).toEqual([])
})

test('commits that are asked for at once follow one another', async () => {
  const store = newStore()
  const writer = await open(store)
  const frames = await Promise.all([1, 2, 3, 4].map(async (number) => await framed(store, number)))
  await Promise.all(frames.map(async (frame) => await add(writer, frame)))
  expect([writer.version, numbersOf(writer)]).toEqual([5, [1, 2, 3, 4]])
})

test.each([
  ['overwrites in spite of ifAbsent', { ifAbsent: undefined }, 'If-None-Match'],
  ['overwrites in spite of ifMatch', { ifMatch: undefined }, 'If-Match'],
  ['never finds that ifMatch holds', { ifMatch: 'x' }, 'If-Match'],
])('a store that %s is refused', async (_, changed, named) => {
  const store = newStore()
  const put = store.put.bind(store)
  vi.spyOn(store, 'put').mockImplementation(async (key, body, options = {}) => {
    const [[name, value]] = Object.entries(changed) as [['ifAbsent' | 'ifMatch', string | undefined]]
    return await put(key, body, options[name] === undefined ? options : { ...options, [name]: value })
  })
  const error = await rejectionOf(open(store))
  expect(error.code).toBe('ERR_STILLFRAME_UNSUPPORTED_STORE')
  expect(error.message).toContain(named)
  expect(store.objects.size).toBe(0)
})

test.each([
  ['cut', (text: string) => text.slice(0, -5), 'does not end'],
  ['changed', (text: string) => text.replace('"epoch":1', '"epoch":7'), 'checksum'],
  ['of another version', () => encodeChecked({ format: 1, version: 7 }), 'version 7'],
  ['of a later format', () => encodeChecked({ format: 2, version: 2 }), 'format 2'],
  ['poor', () => encodeChecked({ format: 1, version: 2 }), 'lacks'],
])(
  'a newest manifest that is %s is told, and the one before is not taken for it',
  async (_, damage, reason) => {
    const store = newStore()
    const writer = await open(store)
    await add(writer, await framed(store, 1))
    const entry = store.objects.get(manifestKey(2))
    const text = damage(Buffer.from(entry?.body ?? []).toString())
    store.objects.set(manifestKey(2), { body: Buffer.from(text), lastModifiedMs: nowMs })
    for (const attempt of [openForReading(store, { surroundings }), open(store)]) {
      const error = await rejectionOf(attempt)
      expect(error.code).toBe('ERR_STILLFRAME_CORRUPT')
      expect(error.message).toContain(reason)
    }
  },
)

test('a manifest that names objects of others is not believed', async () => {
  const store = newStore()
  const bad = {
    format: 1,
    version: 1,
    epoch: 1,
    nonce: 'n',
    frames: [],
    garbage: [{ keys: [boundaryKey], version: 1 }],
  }
  await store.put(manifestKey(1), Buffer.from(encodeChecked(bad)))
  expect(await codeOf(openForReading(store, { surroundings }))).toBe('ERR_STILLFRAME_CORRUPT')
})

test('what was given up goes after the grace, and one generation of manifests is kept', async () => {
  const store = newStore()
  const writer = await open(store)
  for (let number = 1; number <= 3; number++) await add(writer, await framed(store, number))
  await writer.commit((frames) => frames.slice(2))
  for (let round = 0; round < 2; round++) {
    nowMs += settleMs * 2
    await writer.collect()
  }
  expect(store.objects.has('data/f1/n/m000000')).toBe(true)
  for (let round = 0; round < 3; round++) {
    nowMs += graceMs * 2
    await writer.collect()
  }
  const keys = [...store.objects.keys()].sort()
  expect(keys.filter((key) => key.startsWith('data/'))).toEqual(['data/f3/n/m000000'])
  expect(keys.filter((key) => key.startsWith('manifest/'))).toEqual(
    [writer.version - 1, writer.version].map(manifestKey),
  )
  const { version } = writer
  await writer.collect()
  expect(writer.version).toBe(version)
})

test('under a lease nothing goes, however long it lasts, until it is released or its reader is gone', async () => {
  const store = newStore()
  const writer = await open(store)
  await add(writer, await framed(store, 1))
  const reader = await openForReading(store, { surroundings })
  const [held, dead] = [await reader.lease(1e6), await reader.lease(1e6)]
  await writer.commit(() => [])
  const collectOften = async (): Promise<void> => {
    for (let round = 0; round < 4; round++) {
      nowMs += graceMs * 2
      await writer.collect()
    }
  }
  await collectOften()
  expect(held.isHeld).toBe(true)
  expect(store.objects.has('data/f1/n/m000000')).toBe(true)
  await held.release()
  await collectOften()
  // The other lease was no longer renewed, since the clock of its reader stood still.
  expect(dead.isHeld).toBe(false)
  expect([...store.objects.keys()].filter((key) => /^(data|lease)/.test(key))).toEqual([])
})

test('a frame whose objects are not there is not committed', async () => {
  const store = newStore()
  const writer = await open(store)
  const [first, second] = [await framed(store, 1), await framed(store, 2)]
  await store.delete('data/f1/n/m000000')
  expect(await codeOf(add(writer, first))).toBe('ERR_STILLFRAME_NOT_FOUND')
  await store.put('data/f1/n/m000000', Buffer.from('longer'))
  expect(await codeOf(add(writer, first))).toBe('ERR_STILLFRAME_NOT_FOUND')
  await add(writer, second)
  await writer.commit(() => [])
  expect(await codeOf(add(writer, second))).toBe('ERR_STILLFRAME_NOT_FOUND')
  expect([writer.version, numbersOf(writer)]).toEqual([3, []])
})

test('what an upload has left stays for the grace, and can be gone on with', async () => {
  const store = newStore()
  const writer = await open(store)
  const { objects } = await framed(store, 1)
  nowMs += graceMs / 3
  await writer.collect()
  const next = await open(store)
  const upload = await next.beginUpload('f1', objects.memory)
  expect(upload.present).toEqual(objects.memory)
  upload.end()
})

test('a delete that fails is made again by the next collection', async () => {
  const store = newStore()
  const writer = await open(store)
  await framed(store, 1)
  nowMs += graceMs * 2
  vi.spyOn(store, 'delete').mockRejectedValueOnce(storeFailure('x', '503'))
  expect(await writer.collect()).toMatchObject({ failed: 1 })
  expect(await writer.collect()).toMatchObject({ failed: 0, objects: 1 })
  expect([...store.objects.keys()].filter((key) => key.startsWith('data/'))).toEqual([])
})

test('uploads that have begun are not collected, and their old parts are not gone on with', async () => {
  const store = newStore()
  const writer = await open(store)
  const { objects } = await framed(store, 1)
  const upload = await writer.beginUpload('f1', objects.memory)
  expect(upload.present).toEqual(objects.memory)
  nowMs += graceMs * 2
  await writer.collect()
  expect(store.objects.has('data/f1/n/m000000')).toBe(true)
  upload.end()
  expect((await writer.beginUpload('f2', objects.memory)).present).toEqual([])
  await writer.collect()
  expect(store.objects.has('data/f1/n/m000000')).toBe(false)
})

test('uploads that nobody goes on with are taken back after the grace, where the store can do that', async () => {
  const begun = new Map<string, number>()
  const store = Object.assign(newStore(), {
    async removeUnfinished(prefix: string, isAbandoned: (key: string, begunAt: Date) => boolean) {
      expect(prefix).toBe('data/')
      const gone = [...begun].filter(([key, atMs]) => isAbandoned(key, new Date(atMs)))
      for (const [key] of gone) begun.delete(key)
      return gone.length
    },
  })
  const writer = await open(store)
  const upload = await writer.beginUpload('f1')
  begun.set('data/f1/n/m000000', nowMs)
  begun.set('data/f2/n/m000000', nowMs)
  expect(await writer.collect()).toMatchObject({ unfinished: 0 })
  nowMs += graceMs * 2
  begun.set('data/f3/n/m000000', nowMs)
  expect(await writer.collect()).toMatchObject({ unfinished: 1 })
  expect([...begun.keys()]).toEqual(['data/f1/n/m000000', 'data/f3/n/m000000'])
  upload.end()
  expect(await writer.collect()).toMatchObject({ unfinished: 1 })
  // A store that refuses or cannot do this is no reason to skip the rest.
  store.removeUnfinished = () => Promise.reject(storeFailure('data/', '403'))
  expect(await writer.collect()).toMatchObject({ unfinished: 0 })
})
