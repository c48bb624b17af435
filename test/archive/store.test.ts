/**
 * Promise: frames of a directory are in the store soon after they are complete, in order, and
 * captures do not wait for the store; whatever fails meanwhile, each frame can be restored from
 * there on another machine, whole or with an error (I17).
 *
 * Proved with stores in memory that fail on request, against copies of the memory, and with
 * services that are killed.
 */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Region } from 'stillframe'
import { type Archive, openArchive, type StoreLagMessage } from 'stillframe/archive'
import { afterEach, describe, expect, onTestFinished, test } from 'vitest'
import { storeFailure } from '../../lib/store/store.js'
import { MemoryStore } from '../store/memory-store.js'
import { rejectionOf } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { fillFrame } from './fixtures/frame-memory.mjs'
import { History, listOf, numbersOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const place = (name = 'archive'): string => inDirectory(name)

/** A store that is unreachable while `fails` returns true. */
class UnreliableStore extends MemoryStore {
  fails: (what: string, key: string) => boolean = () => false
  readonly calls: string[] = []

  #meet(what: string, key: string): void {
    this.calls.push(`${what} ${key}`)
    if (this.fails(what, key)) throw storeFailure(key, 'the network is down')
  }

  override async put(...args: Parameters<MemoryStore['put']>): ReturnType<MemoryStore['put']> {
    this.#meet('put', args[0])
    return await super.put(...args)
  }

  override async get(...args: Parameters<MemoryStore['get']>): ReturnType<MemoryStore['get']> {
    this.#meet('get', args[0])
    return await super.get(...args)
  }

  override async upload(...args: Parameters<MemoryStore['upload']>): ReturnType<MemoryStore['upload']> {
    this.#meet('upload', args[0])
    return await super.upload(...args)
  }
}

const encryption = { key: Buffer.alloc(32, 3) }
let warnings: string[] = []
const noteWarning = (warning: Error): void => void warnings.push(String(warning.message))
process.on('warning', noteWarning)
afterEach(() => {
  warnings = []
})

async function wrongIn(archive: Archive, history: History): Promise<number[]> {
  return await history.wrongOf(archive, await listOf(archive))
}

describe.each([
  ['in clear', {}],
  ['sealed', { encryption }],
])('a directory with a store, %s', (_, sealing) => {
  test('has each frame in both places, and another machine gets all of them back', async () => {
    const history = new History()
    const store = new MemoryStore()
    const archive = await openArchive(place(), { store, ...sealing })
    for (let frame = 0; frame < 5; frame++) await history.take(archive)
    await archive.copied()
    expect((await listOf(archive)).map(({ places }) => places)).toEqual(Array(5).fill(['directory', 'store']))
    await archive.close()
    rmSync(place(), { recursive: true })
    const far = await openArchive(store, { readOnly: true, ...sealing })
    expect(await numbersOf(far)).toEqual([1, 2, 3, 4, 5])
    expect((await listOf(far)).map(({ kind }) => kind)).toEqual(['full', ...Array(4).fill('delta')])
    expect(await wrongIn(far, history)).toEqual([])
    await far.close()
    // A new directory on the other machine continues where the store ends.
    const next = await openArchive(place(), { store, ...sealing })
    expect(await wrongIn(next, history)).toEqual([])
    await history.take(next)
    await next.copied()
    expect((await listOf(next)).map(({ number, places }) => [number, places.length])).toEqual([
      ...[1, 2, 3, 4, 5].map((number) => [number, 1]),
      [6, 2],
    ])
    expect(await wrongIn(next, history)).toEqual([])
    await next.close()
    expect(existsSync(inDirectory('stillframe-fetched'))).toBe(false)
  })
})

test('nothing of the memory, the objects or the names of sections is in a store that is sealed', async () => {
  const store = new MemoryStore()
  const archive = await openArchive(place(), { store, encryption })
  const region = Region.allocate(64 * 1024)
  const secret = Buffer.from('a planted secret, in memory')
  new Uint8Array(region.buffer).set(secret, 5000)
  await archive.capture({ 'a planted name': region }, { metadata: 'planted metadata' }).done
  await archive.copied()
  await archive.close()
  for (const { body } of store.objects.values()) {
    for (const planted of [secret, 'planted', 'sections', '"format"', 'SFRAM']) {
      expect(Buffer.from(body).includes(planted), String(planted)).toBe(false)
    }
  }
  expect(await rejectionOf(openArchive(store, { readOnly: true }))).toMatchObject({
    code: 'ERR_STILLFRAME_KEY',
  })
  const wrong = { readOnly: true, encryption: { key: Buffer.alloc(32, 4) } }
  expect(await rejectionOf(openArchive(store, wrong))).toMatchObject({ code: 'ERR_STILLFRAME_KEY' })
  expect(await rejectionOf(openArchive(place('other'), { store }))).toMatchObject({
    code: 'ERR_STILLFRAME_KEY',
  })
})

test('captures do not wait for a store that is out of reach, and it gets all of them when it is back', async () => {
  const history = new History()
  const store = new UnreliableStore()
  store.fails = () => true
  const lags: StoreLagMessage[] = []
  const noteLag = (message: unknown): void => void lags.push(message as StoreLagMessage)
  subscribe('stillframe.store.lag', noteLag)
  onTestFinished(() => void unsubscribe('stillframe.store.lag', noteLag))
  const archive = await openArchive(place(), { store })
  for (let frame = 0; frame < 3; frame++) await history.take(archive)
  expect(lags.at(-1)).toMatchObject({ archive: place(), frames: 3 })
  expect(lags.at(-1)?.bytes).toBeGreaterThan(0)
  expect((await listOf(archive)).map(({ places }) => places)).toEqual(Array(3).fill(['directory']))
  const aborted = AbortSignal.timeout(50)
  expect(await rejectionOf(archive.copied({ signal: aborted }))).toBe(aborted.reason)
  store.fails = () => false
  await archive.copied()
  const [last] = (await listOf(archive)).slice(-1)
  expect(lags.at(-1)).toMatchObject({ frames: 0, bytes: 0, copiedAt: last?.frozenAt })
  await archive.close()
  const far = await openArchive(store, { readOnly: true })
  expect(await wrongIn(far, history)).toEqual([])
})

test('a directory that is begun anew while the store is out of reach gives no number there a second time', async () => {
  const history = new History()
  const store = new UnreliableStore()
  const before = await openArchive(place(), { store })
  for (let frame = 0; frame < 3; frame++) await history.take(before)
  await before.copied()
  await before.close()
  rmSync(place(), { recursive: true })
  store.fails = () => true
  const archive = await openArchive(place(), { store })
  for (let frame = 0; frame < 2; frame++) await history.take(archive)
  expect((await listOf(archive)).map(({ number }) => number)).toEqual([1, 2])
  store.fails = () => false
  await archive.copied()
  await archive.close()
  const far = await openArchive(store, { readOnly: true })
  expect(await numbersOf(far)).toEqual([1, 2, 3, 4, 5])
  expect(await wrongIn(far, history)).toEqual([])
})

test('what a frame builds on comes with it, though it was given up before it could be copied', async () => {
  const history = new History()
  const store = new UnreliableStore()
  const archive = await openArchive(place(), { store, retention: { last: 1 } })
  store.fails = (what) => what === 'upload'
  for (let frame = 0; frame < 3; frame++) await history.take(archive)
  await waitUntil(() => store.calls.some((call) => call.startsWith('upload')), 'it has been tried')
  store.fails = () => false
  await archive.copied()
  const far = await openArchive(store, { readOnly: true })
  expect((await numbersOf(far)).at(-1)).toBe(3)
  expect(await wrongIn(far, history)).toEqual([])
  await archive.close()
})

test('an upload that fails half-way goes on, and nobody sees the frame before', async () => {
  const history = new History()
  const store = new UnreliableStore()
  const archive = await openArchive(place(), { store })
  await history.take(archive)
  await archive.copied()
  store.fails = (what, key) => what === 'put' && key.startsWith('manifest/')
  await history.take(archive)
  await waitUntil(
    () => store.calls.filter((call) => call.startsWith('put manifest/')).length > 3,
    'it has been tried',
  )
  const far = await openArchive(store, { readOnly: true })
  expect(await numbersOf(far)).toEqual([1])
  store.fails = () => false
  await archive.copied()
  expect(await numbersOf(far)).toEqual([1, 2])
  expect(await wrongIn(far, history)).toEqual([])
  await archive.close()
})

test('each place has rules of its own, and a chain in the store has all that it needs', async () => {
  const history = new History()
  const store = new MemoryStore()
  const rules = { retention: { last: 2 }, storeRetention: { last: 4 }, fullEvery: 3 }
  const archive = await openArchive(place(), { store, ...rules })
  for (let frame = 1; frame <= 12; frame++) {
    await history.take(archive)
    await archive.copied()
    const far = await openArchive(store, { readOnly: true })
    expect(await numbersOf(far)).toEqual(
      [4, 3, 2, 1].map((back) => frame + 1 - back).filter((number) => number > 0),
    )
    expect(await wrongIn(far, history), `after frame ${frame}`).toEqual([])
    await far.close()
  }
  // Full files replace chains in the store, too: in the background, and so at last.
  while (!(await listOf(archive)).some(({ kind }) => kind === 'full')) await archive.copied()
  await waitUntil(
    () => readdirSync(place()).filter((name) => name.endsWith('.sf')).length <= 4,
    'the directory is small',
  )
  await archive.close()
})

test('what is damaged in the store is passed over, or thrown, and never restored', async () => {
  const history = new History()
  const store = new MemoryStore()
  const archive = await openArchive(place(), { store })
  for (let frame = 0; frame < 3; frame++) await history.take(archive, { full: true })
  await archive.copied()
  await archive.close()
  const far = await openArchive(store, { readOnly: true })
  const [newest] = (await listOf(far)).slice(-1)
  for (const [key, object] of store.objects) {
    if (key.includes(newest?.id ?? '')) object.body = Buffer.from(object.body).fill(1, 70_000, 70_001)
  }
  const restored = await far.restore()
  expect(restored.frame.number).toBe(2)
  expect(restored.skipped).toMatchObject([{ number: 3, code: 'ERR_STILLFRAME_CORRUPT' }])
  expect(await rejectionOf(far.restore({ onDamage: 'throw' }))).toMatchObject({
    code: 'ERR_STILLFRAME_CORRUPT',
  })
  expect(await rejectionOf(far.restore({ at: new Date(0) }))).toMatchObject({ code: 'ERR_STILLFRAME_GAP' })
})

describe('an archive in a store alone', () => {
  test('has a frame when its capture is done, and nothing is left where it was on its way', async () => {
    const history = new History()
    const store = new MemoryStore()
    mkdirSync(place('spool'))
    const options = { spool: place('spool'), retention: { last: 3 }, fullEvery: 3 }
    for (let round = 0; round < 2; round++) {
      const archive = await openArchive(store, options)
      for (let frame = 0; frame < 4; frame++) {
        const id = await history.take(archive)
        const far = await openArchive(store, { readOnly: true })
        expect((await listOf(far)).at(-1)?.id).toBe(id)
      }
      expect(await numbersOf(archive)).toEqual([2, 3, 4].map((number) => number + 4 * round))
      expect(await wrongIn(archive, history)).toEqual([])
      await archive.close()
      expect(readdirSync(place('spool'))).toEqual([])
    }
    const archive = await openArchive(store, options)
    const report = await archive.prune({ retention: { last: 1 } })
    expect(report.givenUp.map(({ number }) => number)).toEqual([6, 7])
    expect(await numbersOf(archive)).toEqual([8])
    await archive.close()
  })

  test('whose store fails has no frame, says so, and goes on when it is back', async () => {
    const history = new History()
    const store = new UnreliableStore()
    const archive = await openArchive(store)
    store.fails = (what) => what === 'upload'
    expect(await rejectionOf(history.take(archive))).toMatchObject({ code: 'ERR_STILLFRAME_IO' })
    expect(await numbersOf(archive)).toEqual([])
    expect(warnings).toContainEqual(
      expect.stringMatching(/not being copied to the store: .*could not be uploaded/),
    )
    store.fails = () => false
    await history.take(archive)
    expect(await wrongIn(archive, history)).toEqual([])
    await archive.close()
  })

  test('has one writer: the one before is told at its next frame', async () => {
    const history = new History()
    const store = new MemoryStore()
    const first = await openArchive(store)
    await history.take(first)
    const second = await openArchive(store)
    expect(await rejectionOf(history.take(first))).toMatchObject({ code: 'ERR_STILLFRAME_FENCED' })
    await history.take(second)
    expect(await wrongIn(second, history)).toEqual([])
    await first.close()
    await second.close()
  })

  test('is not found where there is none, and needs a store that keeps its conditions', async () => {
    const store = new MemoryStore()
    expect(await rejectionOf(openArchive(store, { readOnly: true }))).toMatchObject({
      code: 'ERR_STILLFRAME_NOT_FOUND',
    })
    const careless = Object.assign(new MemoryStore(), {
      put: (key: string, body: Uint8Array) => MemoryStore.prototype.put.call(careless, key, body),
    })
    expect(await rejectionOf(openArchive(careless))).toMatchObject({
      code: 'ERR_STILLFRAME_UNSUPPORTED_STORE',
    })
    expect(await rejectionOf(openArchive(place(), { store: careless }))).toMatchObject({
      code: 'ERR_STILLFRAME_UNSUPPORTED_STORE',
    })
  })
})

test('killed in the middle of an upload, a service goes on where it was, and nothing is wrong', async () => {
  const service = startFixture(new URL('fixtures/uploading.mjs', import.meta.url), [place(), place('store')])
  expect(await service.report()).toEqual({ uploaded: 'memory' })
  service.child.kill('SIGKILL')
  await service.end
  const before = readdirSync(join(place('store'), 'data'), { recursive: true }).filter((name) =>
    /m\d+$/.test(String(name)),
  )
  expect(before.length).toBe(1)
  const again = startFixture(new URL('fixtures/uploading.mjs', import.meta.url), [
    place(),
    place('store'),
    'again',
  ])
  expect(await again.report()).toEqual({ copied: true })
  await again.end
  const after = readdirSync(join(place('store'), 'data'), { recursive: true }).filter((name) =>
    /m\d+$/.test(String(name)),
  )
  expect(after).toEqual(before)
  const { directoryStore } = await import('stillframe/archive')
  const far = await openArchive(directoryStore(place('store')), { readOnly: true })
  const restored = await far.restore<number>()
  const expected = fillFrame(new ArrayBuffer(128 * 1024), restored.metadata as number)
  expect(Buffer.compare(new Uint8Array(restored.regions['main']?.buffer as ArrayBuffer), expected)).toBe(0)
  const objects: unknown[] = []
  for await (const value of restored.state()) objects.push(value)
  expect(objects).toEqual([{ of: 'the frame' }])
})
