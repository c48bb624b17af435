/**
 * Promise: verify() finds every flipped, cut and missing object of an archive in a store, sealed or
 * not, reports the frames that cannot be restored because of it, and keeps nothing on disk; an
 * unreachable store is not mistaken for a damaged one.
 *
 * Proved by damaging each object of an archive in several ways, and comparing with the outcome of
 * restore().
 */

import { mkdirSync, readdirSync } from 'node:fs'
import { type Archive, type ArchiveReport, openArchive } from 'stillframe/archive'
import { describe, expect, test } from 'vitest'
import { storeFailure } from '../../lib/store/store.js'
import { MemoryStore } from '../store/memory-store.js'
import { rejectionOf } from '../support/expect-error.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { History, listOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const encryption = { key: Buffer.alloc(32, 3) }

type Stored = MemoryStore['objects'] extends Map<string, infer Value> ? Value : never

/** The damaged bytes of an object; undefined removes it. */
const damages: Record<string, (body: Uint8Array) => Uint8Array | undefined> = {
  'a flipped byte': (body) => body.map((byte, at) => (at === body.length >> 1 ? byte ^ 4 : byte)),
  'a cut': (body) => body.slice(0, -1),
  'a byte more': (body) => Buffer.concat([body, Buffer.alloc(1)]),
  'the end of it': () => Buffer.alloc(0),
  'its absence': () => undefined,
}

/**
 * Numbers of the frames that cannot be restored if the memory of each frame is damaged; 1 and 4 are
 * full, 3 has objects.
 */
const affected = new Map([
  [1, [1, 2, 3]],
  [2, [2, 3]],
  [3, [3]],
  [4, [4, 5]],
  [5, [5]],
])

async function takeFive(archive: Archive, history: History): Promise<void> {
  const state = (out: { value(value: unknown): void }): void => out.value('objects')
  for (const options of [{}, {}, { state }, { full: true }, {}]) {
    // V8's threads may be busy.
    for (;;) {
      const code = await history.take(archive, options).catch((error: { code: string }) => error.code)
      if (code !== 'ERR_STILLFRAME_BUSY') break
    }
  }
}

function damagedIn({ frames }: ArchiveReport): number[] {
  return frames.filter(({ ok }) => !ok).map(({ number }) => number)
}

describe.each([
  ['in clear', {}],
  ['sealed', { encryption }],
])('an archive in a store, %s', (_, sealing) => {
  test('that is sound is sound, and each damage is found', async () => {
    const history = new History(200 * 1024)
    const store = new MemoryStore()
    const writer = await openArchive(store, { ...sealing, spool: inDirectory() })
    await takeFive(writer, history)
    const frames = await listOf(writer)
    expect(await writer.verify()).toMatchObject({ ok: true })
    await writer.close()
    mkdirSync(inDirectory('spool'))
    const reader = await openArchive(store, { ...sealing, readOnly: true, spool: inDirectory('spool') })
    const keys = [...store.objects.keys()].filter((key) => key.startsWith('data/'))
    expect(keys.length).toBe(6)
    for (const key of keys)
      for (const [what, damage] of Object.entries(damages)) {
        const object = store.objects.get(key) as Stored
        const body = damage(object.body)
        if (body === undefined) store.objects.delete(key)
        else store.objects.set(key, { ...object, body })
        const report = await reader.verify()
        const { number } = frames.find(({ id }) => key.includes(id)) ?? {}
        const broken = key.includes('/s') ? [3] : affected.get(number ?? 0)
        expect(damagedIn(report), `${what} of ${key}`).toEqual(broken)
        expect(report.ok).toBe(false)
        expect(report.frames.map(({ place }) => place)).toEqual(Array(5).fill('store'))
        for (const { ok, problems } of report.frames) {
          expect(problems.length).toBe(ok ? 0 : 1)
          if (!ok) expect(problems[0]).toMatchObject({ path: key, reason: expect.any(String) })
        }
        // restore() must agree. Only for absent objects, since it retries other damage several
        // times, with pauses.
        for (const { id, number: one } of what === 'its absence' ? frames : []) {
          const outcome = await reader.restore({ id }).then(
            (restored) => restored.close() ?? 'restored',
            () => 'damaged',
          )
          expect(outcome, `${what} of ${key}, frame ${one}`).toBe(
            broken?.includes(one) ? 'damaged' : 'restored',
          )
        }
        store.objects.set(key, object)
      }
    expect(await reader.verify()).toMatchObject({ ok: true })
    expect(readdirSync(inDirectory('spool'))).toEqual([])
    expect([...store.objects.keys()].filter((key) => key.startsWith('lease/'))).toEqual([])
    await reader.close()
  })
})

test('each object is fetched once, however many frames build on it', async () => {
  const history = new History()
  const store = new MemoryStore()
  await using archive = await openArchive(store, { spool: inDirectory() })
  for (let n = 0; n < 4; n++) await history.take(archive)
  const fetched: string[] = []
  const get = store.get.bind(store)
  store.get = async (key, options) => {
    if (key.startsWith('data/')) fetched.push(key)
    return await get(key, options)
  }
  expect(await archive.verify()).toMatchObject({ ok: true })
  expect(fetched.length).toBe(4)
  expect(new Set(fetched).size).toBe(4)
})

test('it can be followed and aborted, in both places', async () => {
  const history = new History()
  const store = new MemoryStore()
  await using archive = await openArchive(inDirectory('archive'), { store })
  for (let n = 0; n < 3; n++) await history.take(archive)
  await archive.copied()
  const seen: object[] = []
  const report = await archive.verify({
    places: ['directory', 'store'],
    onProgress: (progress) => void seen.push(progress),
  })
  expect(seen).toEqual([1, 2, 3, 4, 5, 6].map((framesDone) => ({ framesDone, framesTotal: 6 })))
  expect(report.frames.map(({ number, place }) => [number, place])).toEqual([
    ...[1, 2, 3].map((number) => [number, 'directory']),
    ...[1, 2, 3].map((number) => [number, 'store']),
  ])
  for (const framesBefore of [0, 1, 4]) {
    const reason = new Error('enough')
    const controller = new AbortController()
    if (framesBefore === 0) controller.abort(reason)
    const stopped = archive.verify({
      places: ['directory', 'store'],
      signal: controller.signal,
      onProgress: ({ framesDone }) => void (framesDone === framesBefore && controller.abort(reason)),
    })
    expect(await rejectionOf(stopped)).toBe(reason)
  }
  const late = new AbortController()
  const get = store.get.bind(store)
  store.get = async (key, options) => {
    if (!key.startsWith('data/')) return await get(key, options)
    setImmediate(() => late.abort(new Error('in the middle')))
    return await new Promise((_, reject) =>
      options?.signal?.addEventListener('abort', () => reject(options.signal?.reason)),
    )
  }
  expect(await rejectionOf(archive.verify({ places: ['store'], signal: late.signal }))).toBe(
    late.signal.reason,
  )
})

test('places that the archive lacks are refused, and by default it is the directory that is read', async () => {
  const history = new History()
  const store = new MemoryStore()
  await using archive = await openArchive(inDirectory('archive'), { store })
  await history.take(archive)
  await archive.copied()
  for (const [key, object] of store.objects) if (key.startsWith('data/')) object.body = Buffer.alloc(3)
  expect(await archive.verify()).toMatchObject({ ok: true, frames: [{ place: 'directory' }] })
  expect(await archive.verify({ places: ['store'] })).toMatchObject({
    ok: false,
    frames: [{ place: 'store' }],
  })
  await using plain = await openArchive(inDirectory('plain'))
  await using alone = await openArchive(new MemoryStore(), { spool: inDirectory() })
  for (const [of, places] of [
    [plain, ['store']],
    [alone, ['directory', 'store']],
    [alone, []],
    [alone, ['cloud']],
    [alone, 'store'],
  ] as const)
    await expect(of.verify({ places: places as never })).rejects.toThrow(/options\.places/)
})

test('when the store is out of reach, that is what is said', async () => {
  const history = new History()
  const store = new MemoryStore()
  await using archive = await openArchive(store, { spool: inDirectory() })
  await history.take(archive)
  const get = store.get.bind(store)
  store.get = async (key, options) => {
    if (key.startsWith('data/')) throw storeFailure(key, 'the network is down')
    return await get(key, options)
  }
  expect(await rejectionOf(archive.verify())).toMatchObject({ code: 'ERR_STILLFRAME_IO' })
})

test('after damage was found in the store the next frame builds on nothing', async () => {
  const history = new History()
  const store = new MemoryStore()
  await using archive = await openArchive(inDirectory('archive'), { store })
  for (let n = 0; n < 2; n++) await history.take(archive)
  await archive.copied()
  for (const [key, object] of store.objects)
    if (key.startsWith('data/')) object.body = Uint8Array.from(object.body).fill(1, 70_000, 70_010)
  expect(await archive.verify({ places: ['store'] })).toMatchObject({ ok: false })
  await history.take(archive)
  await archive.copied()
  const [last] = (await listOf(archive)).slice(-1)
  expect(last).toMatchObject({ kind: 'full' })
  const report = await archive.verify({ places: ['store'] })
  expect(report.frames.at(-1)).toMatchObject({ number: 3, ok: true })
})
