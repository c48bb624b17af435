/**
 * Promise I17: memory of an archive in a store is available at once, on any machine; every page has
 * its frozen contents when it is first seen, whenever it arrives; a page that cannot be fetched is
 * an error, then a fault, and never wrong bytes.
 *
 * Proved with stores that let blocks through on request, with sealed stores, with a real S3 server,
 * and with services that touch pages that cannot arrive.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { deflate } from 'node:zlib'
import { type Region, snapshot } from 'stillframe'
import {
  type ArchiveRestored,
  commitSet,
  directoryStore,
  type ObjectStore,
  openArchive,
  restoreSet,
  shardStore,
} from 'stillframe/archive'
import { s3 } from 'stillframe/s3'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { MemoryStore } from '../store/memory-store.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { needsLazyRestore } from '../support/lazy-restore.js'
import { waitUntil } from '../support/processes.mjs'
import { clientOf, needsS3Server, newBucket } from '../support/s3-server.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { closed, failing, gatedStore, open, openForUrgent } from './fixtures/gated-store.mjs'
import { History, listOf } from './history.js'

const inDirectory = useTemporaryDirectory()
beforeEach(needsLazyRestore)

const encryption = { key: Buffer.alloc(32, 5) }

const opened: Pick<Filled, 'archive' | 'history'>[] = []
afterEach(async () => {
  for (const { archive, history } of opened.splice(0)) {
    history.close()
    await archive.close()
  }
})

/** Makes an archive in a store with a chain of frames, the newest of which has objects. */
async function fill(store: ObjectStore, options: Parameters<typeof openArchive>[1] = {}): Promise<Filled> {
  const history = new History(8 * 2 ** 20)
  const archive = await openArchive(store, options)
  for (let frame = 0; frame < 3; frame++) await history.take(archive)
  const state = (out: { value(value: unknown): void }) => out.value({ epoch: 3 })
  const id = await persistently(async () => await history.take(archive, { state }))
  opened.push({ archive, history })
  return { archive, history, id, frames: (await listOf(archive)).length }
}

interface Filled {
  readonly archive: Awaited<ReturnType<typeof openArchive>>
  readonly history: History
  readonly id: string
  readonly frames: number
}

/** Repeats the operation, since V8 may be busy at the moment of the fork. */
async function persistently<Value>(operation: () => Promise<Value>): Promise<Value> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await operation()
    } catch (error) {
      if (attempt === 50 || (error as { code?: string }).code !== 'ERR_STILLFRAME_BUSY') throw error
      await sleep(100)
    }
  }
}

function mainOf(restored: ArchiveRestored): Uint8Array {
  return new Uint8Array((restored.regions['main'] as Region).buffer)
}

async function valuesOf(restored: ArchiveRestored): Promise<unknown[]> {
  const values: unknown[] = []
  for await (const value of restored.state()) values.push(value)
  return values
}

/** The two shared numbers of a gated store, see the fixture. */
function newGate(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(8))
}

async function expectWhole(filled: Filled): Promise<void> {
  const restored = await filled.archive.restore({ mode: 'lazy' })
  expect(restored.frame).toMatchObject({ id: filled.id, places: ['store'] })
  expect(await valuesOf(restored)).toEqual([{ epoch: 3 }])
  await restored.ready
  expect(filled.history.isCopyOf(filled.id, mainOf(restored).buffer as ArrayBuffer)).toBe(true)
  restored.close()
  // An older frame as well.
  const [first] = await listOf(filled.archive)
  const older = await filled.archive.restore({ mode: 'lazy', id: first?.id as string })
  await older.ready
  expect(filled.history.isCopyOf(first?.id as string, mainOf(older).buffer as ArrayBuffer)).toBe(true)
  expect(await valuesOf(older)).toEqual([])
  older.close()
}

test('a chain and its objects come back from a directory', async () => {
  await expectWhole(await fill(directoryStore(inDirectory('store'))))
})

test('and from a sealed one, whose keys stay with the thread that was given them', async () => {
  await expectWhole(await fill(directoryStore(inDirectory('store')), { encryption }))
})

test('and from a real server of S3, sealed', async (context) => {
  const client = clientOf(await needsS3Server(context))
  const store = s3({ client, bucket: await newBucket(client), prefix: 'lazy' })
  await expectWhole(await fill(store, { encryption }))
})

test('and as the shard of a set', async () => {
  const store = directoryStore(inDirectory('store'))
  const archive = await openArchive(shardStore(store, 'a'))
  const history = new History()
  const id = await history.take(archive, { set: 'noon' })
  await archive.close()
  await commitSet(store, 'noon', [{ shard: 'a', frameId: id }])
  const restored = await restoreSet(store, { shard: 'a', mode: 'lazy' })
  await restored.ready
  expect(restored.set.name).toBe('noon')
  expect(history.isCopyOf(id, mainOf(restored).buffer as ArrayBuffer)).toBe(true)
  restored.close()
  history.close()
})

test('the memory is there while its blocks are not; who touches a page waits, and the service goes on afterwards', async () => {
  const gate = newGate()
  const filled = await fill(gatedStore(inDirectory('store'), gate))
  const progress: number[] = []
  const restored = await filled.archive.restore({
    mode: 'lazy',
    onProgress: ({ bytesDone }) => progress.push(bytesDone),
  })
  const main = mainOf(restored)
  await waitUntil(() => Atomics.load(gate, 1) > 0, 'a block is asked for')
  expect(thrownBy(() => snapshot(restored.regions, inDirectory('refused'))).code).toBe('ERR_STILLFRAME_BUSY')
  expect(await Promise.race([restored.ready, sleep(100).then(() => 'not yet')])).toBe('not yet')
  Atomics.store(gate, 0, openForUrgent)
  // This thread blocks until the other thread has fetched the block.
  const last = main[main.length - 1]
  expect(Atomics.load(gate, 0)).toBe(open)
  const block = 2 ** 18
  const { firstUses } = restored
  expect(firstUses).toEqual([{ section: 'main', offset: Math.floor((main.length - 1) / block) * block }])
  await restored.ready
  expect(last).toBe(main[main.length - 1])
  expect(filled.history.isCopyOf(filled.id, main.buffer as ArrayBuffer)).toBe(true)
  expect(progress.at(-1)).toBe(main.length)
  await snapshot(restored.regions, inDirectory('again')).done
  restored.close()
  // If passed to the next restore, the block is fetched before any thread waits for it.
  const next = await filled.archive.restore({
    mode: 'lazy',
    firstUses: JSON.parse(JSON.stringify(firstUses)),
  })
  await next.ready
  expect(next.firstUses).toEqual(firstUses)
  next.close()
})

test('all threads of the pool may wait for pages', async () => {
  const gate = newGate()
  const filled = await fill(gatedStore(inDirectory('store'), gate))
  const restored = await filled.archive.restore({ mode: 'lazy' })
  const main = mainOf(restored)
  const pieces = Array.from({ length: 16 }, (_, index) => main.subarray(index << 19, (index + 1) << 19))
  const packed = Promise.all(pieces.map((piece) => promisify(deflate)(piece)))
  await sleep(50)
  Atomics.store(gate, 0, open)
  await packed
  await restored.ready
  restored.close()
})

test('what cannot be fetched is told by ready, and the archive goes on', async () => {
  const gate = newGate()
  const filled = await fill(gatedStore(inDirectory('store'), gate))
  const restored = await filled.archive.restore({ mode: 'lazy' })
  Atomics.store(gate, 0, failing)
  expect(await rejectionOf(restored.ready)).toMatchObject({
    code: 'ERR_STILLFRAME_IO',
    message: expect.stringContaining('could not be fetched in 4 attempts'),
  })
  restored.close()
  Atomics.store(gate, 0, open)
  const again = await filled.archive.restore({ mode: 'lazy' })
  await again.ready
  expect(filled.history.isCopyOf(filled.id, mainOf(again).buffer as ArrayBuffer)).toBe(true)
  again.close()
}, 60_000)

test('a service that waits for what cannot be fetched ends by SIGSEGV, after a line that says why', async () => {
  await fill(directoryStore(inDirectory('store')))
  const { end } = startFixture(new URL('fixtures/waiting.mjs', import.meta.url), [inDirectory('store')])
  const { signal, stderr } = await end
  expect(signal).toBe('SIGSEGV')
  expect(stderr).toContain('cannot be read')
  expect(stderr).toContain('could not be fetched in 4 attempts')
}, 60_000)

test('close() and an abort end it at once, whatever is under way', async () => {
  const gate = newGate()
  gate[0] = closed
  const filled = await fill(gatedStore(inDirectory('store'), gate))
  const restored = await filled.archive.restore({ mode: 'lazy' })
  restored.close()
  expect(await rejectionOf(restored.ready)).toMatchObject({ code: 'ERR_STILLFRAME_CLOSED' })
  const controller = new AbortController()
  const other = await filled.archive.restore({ mode: 'lazy', signal: controller.signal })
  controller.abort(new Error('enough'))
  expect(await rejectionOf(other.ready)).toMatchObject({ message: 'enough' })
  other.close()
})

test('the lease is held until all is there, and no longer', async () => {
  const gate = newGate()
  const store = gatedStore(inDirectory('store'), gate)
  const filled = await fill(store)
  const leases = async (): Promise<number> => {
    let count = 0
    for await (const _ of store.list('lease/')) count++
    return count
  }
  const restored = await filled.archive.restore({ mode: 'lazy' })
  expect(await leases()).toBe(1)
  Atomics.store(gate, 0, open)
  await restored.ready
  for (let tries = 0; (await leases()) > 0; tries++) {
    expect(tries).toBeLessThan(1000)
    await sleep(10)
  }
  restored.close()
})

test('a store that no other thread can use is refused, with what to do', async () => {
  const filled = await fill(new MemoryStore())
  expect(await rejectionOf(filled.archive.restore({ mode: 'lazy' }))).toMatchObject({
    code: 'ERR_STILLFRAME_UNSUPPORTED_STORE',
    message: expect.stringContaining('recipe()'),
  })
})
