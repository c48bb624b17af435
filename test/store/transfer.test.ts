/**
 * Promise: a file of a frame comes back from a store byte for byte or not at all, an upload resumes
 * where it stopped, and neither takes more memory than its limit (I17).
 *
 * Proved with files and a store in memory, with changes to single answers.
 */

import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { downloadFile, downloadParts } from '../../lib/archive/remote/download.js'
import type { StoredPart } from '../../lib/archive/remote/remote-state.js'
import { realSurroundings, type Surroundings } from '../../lib/archive/remote/surroundings.js'
import { fileSource, type UploadRequest, uploadParts } from '../../lib/archive/remote/upload.js'
import { storeFailure } from '../../lib/store/store.js'
import { rejectionOf } from '../support/expect-error.js'
import { Random } from '../support/random.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { MemoryStore } from './memory-store.js'

const inDirectory = useTemporaryDirectory()
afterEach(() => vi.restoreAllMocks())

const surroundings: Surroundings = { ...realSurroundings, sleep: async () => {} }
const partSize = 3000
const rangeSize = 700

function madeFile(size = 10_000, seed = 1): Buffer {
  const bytes = Buffer.alloc(size)
  new Random(seed).fill(bytes)
  writeFileSync(inDirectory('from'), bytes)
  return bytes
}

async function upload(store: MemoryStore, options: Partial<UploadRequest> = {}): Promise<StoredPart[]> {
  const path = inDirectory('from')
  const file = await open(path)
  try {
    const source = await fileSource(file, path)
    return await uploadParts({
      store,
      frameId: 'f1',
      file: 'memory',
      source,
      partSize,
      surroundings,
      ...options,
    })
  } finally {
    await file.close()
  }
}

async function download(store: MemoryStore, parts: readonly StoredPart[]): Promise<Buffer> {
  const path = inDirectory('to')
  await downloadFile(path, { store, parts, rangeSize, maxBytesInFlight: rangeSize * 4, surroundings })
  return readFileSync(path)
}

/** Changes the answer to the nth get from now on, or all answers if n is not given. */
function changeAnswers(store: MemoryStore, change: (body: Uint8Array) => Uint8Array, n?: number): void {
  const get = store.get.bind(store)
  let times = 0
  vi.spyOn(store, 'get').mockImplementation(async (key, options) => {
    const object = await get(key, options)
    times++
    return n === undefined || times === n ? { ...object, body: change(object.body) } : object
  })
}

const cut = (body: Uint8Array) => body.subarray(1)
const longer = (body: Uint8Array) => Buffer.concat([body, Buffer.from('x')])
const flipped = (body: Uint8Array) => Uint8Array.from(body, (byte, at) => (at === 0 ? byte ^ 1 : byte))

test.each([0, 1, partSize - 1, partSize, partSize + 1, 10_000])(
  'a file of %i bytes comes back',
  async (size) => {
    const store = new MemoryStore()
    const bytes = madeFile(size)
    const parts = await upload(store)
    expect(parts.length).toBe(Math.ceil(size / partSize))
    expect(Buffer.compare(await download(store, parts), bytes)).toBe(0)
  },
)

test.each([
  ['shorter', cut],
  ['longer', longer],
  ['changed', flipped],
])('an answer that is %s is asked for again', async (_, change) => {
  const store = new MemoryStore()
  const bytes = madeFile()
  const parts = await upload(store)
  changeAnswers(store, change, 5)
  expect(Buffer.compare(await download(store, parts), bytes)).toBe(0)
})

test.each([
  ['shorter', cut, 'ERR_STILLFRAME_IO'],
  ['longer', longer, 'ERR_STILLFRAME_IO'],
  ['changed', flipped, 'ERR_STILLFRAME_CORRUPT'],
])('where all answers are %s there is no file', async (_, change, code) => {
  const store = new MemoryStore()
  madeFile()
  const parts = await upload(store)
  changeAnswers(store, change)
  expect((await rejectionOf(download(store, parts))).code).toBe(code)
  expect(existsSync(inDirectory('to'))).toBe(false)
})

test('parts that were cut, changed or removed in the store are told with their key', async () => {
  const store = new MemoryStore()
  madeFile()
  const parts = await upload(store)
  const { key } = parts[1] as StoredPart
  const there = store.objects.get(key) as { body: Uint8Array; lastModifiedMs: number }
  store.objects.set(key, { ...there, body: flipped(there.body) })
  const changed = await rejectionOf(download(store, parts))
  expect([changed.code, changed.message]).toEqual(['ERR_STILLFRAME_CORRUPT', expect.stringContaining(key)])
  store.objects.set(key, { ...there, body: there.body.subarray(5) })
  expect((await rejectionOf(download(store, parts))).code).toBe('ERR_STILLFRAME_CORRUPT')
  store.objects.set(key, { ...there, body: longer(there.body) })
  expect((await rejectionOf(download(store, parts))).code).toBe('ERR_STILLFRAME_CORRUPT')
  store.objects.delete(key)
  expect((await rejectionOf(download(store, parts))).code).toBe('ERR_STILLFRAME_NOT_FOUND')
  expect(existsSync(inDirectory('to'))).toBe(false)
})

test('no more is asked for than may be in flight, and nothing is written after a failure was told', async () => {
  const store = new MemoryStore()
  madeFile(50_000)
  const parts = await upload(store)
  let inFlight = 0
  let most = 0
  let isOver = false
  let writes = 0
  const get = store.get.bind(store)
  vi.spyOn(store, 'get').mockImplementation(async (key, options) => {
    most = Math.max(most, ++inFlight)
    await new Promise(setImmediate)
    return await get(key, options)
  })
  const target = {
    async write() {
      expect(isOver).toBe(false)
      await new Promise(setImmediate)
      inFlight--
      if (++writes === 40) throw new Error('the disk is full')
    },
  }
  const request = { store, parts, target, rangeSize, maxBytesInFlight: rangeSize * 4 + 1, surroundings }
  const error = await rejectionOf(downloadParts(request))
  isOver = true
  expect(error.message).toBe('the disk is full')
  expect(most).toBe(4)
  await new Promise(setImmediate)
})

test('an upload and a download end with the reason of their signal', async () => {
  const store = new MemoryStore()
  madeFile()
  const parts = await upload(store)
  const reason = new Error('enough')
  const controller = new AbortController()
  const onPart = (): void => controller.abort(reason)
  expect(await rejectionOf(upload(store, { signal: controller.signal, onPart }))).toBe(reason)
  const { signal } = controller
  const path = inDirectory('to')
  expect(await rejectionOf(downloadFile(path, { store, parts, signal, surroundings }))).toBe(reason)
})

test('an upload goes on where it was, and takes no part whose bytes are others now', async () => {
  const store = new MemoryStore()
  const bytes = madeFile()
  const journal: StoredPart[] = []
  const onPart = (part: StoredPart): void => {
    journal.push(part)
    if (journal.length === 2) throw new Error('killed')
  }
  await rejectionOf(upload(store, { onPart }))
  const uploads = vi.spyOn(store, 'upload')
  const parts = await upload(store, { present: journal })
  expect(uploads).toHaveBeenCalledTimes(2)
  expect(parts.slice(0, 2)).toEqual(journal)
  expect(Buffer.compare(await download(store, parts), bytes)).toBe(0)
  bytes[partSize] = (bytes[partSize] as number) ^ 1
  writeFileSync(inDirectory('from'), bytes)
  const again = await upload(store, { present: journal })
  expect(again[0]).toEqual(journal[0])
  expect(again[1]?.key).not.toBe(journal[1]?.key)
})

test('what fails is uploaded again under another key, a few times', async () => {
  const store = new MemoryStore()
  madeFile()
  const real = store.upload.bind(store)
  const keys: string[] = []
  const spy = vi.spyOn(store, 'upload').mockImplementation(async (key, stream, options) => {
    const isFirst = keys.push(key) === 1
    const stored = await real(key, stream, options)
    if (isFirst) throw storeFailure(key, 'the reply was lost')
    return stored
  })
  await upload(store)
  expect([keys.length, new Set(keys).size]).toEqual([5, 5])
  spy.mockImplementation(async (key) => {
    throw storeFailure(key, 'no answer')
  })
  expect((await rejectionOf(upload(store))).code).toBe('ERR_STILLFRAME_IO')
})

/**
 * Uploads that wait until the test answers them. Each has the number of bytes taken from its
 * stream.
 */
function heldUploads(store: MemoryStore) {
  const held: { taken: number; hasEnded: boolean; answer: () => void }[] = []
  vi.spyOn(store, 'upload').mockImplementation(async (key, stream, { signal } = {}) => {
    let answer: () => void = () => {}
    const answered = new Promise<void>((resolve, reject) => {
      answer = resolve
      signal?.addEventListener('abort', () => setImmediate(reject, signal.reason))
    })
    const upload = { taken: 0, hasEnded: false, answer }
    held.push(upload)
    for await (const piece of stream) upload.taken += piece.length
    await answered.finally(() => {
      upload.hasEnded = true
    })
    return { etag: key, size: upload.taken }
  })
  return held
}

test('the next part is begun while the last bytes of one are on their way, and no third; they are told in order', async () => {
  const store = new MemoryStore()
  madeFile()
  const held = heldUploads(store)
  const told: string[] = []
  const uploading = upload(store, {
    onPart: async ({ key }) => {
      told.push(`begin ${key.at(-1)}`)
      await new Promise(setImmediate)
      told.push(`end ${key.at(-1)}`)
    },
  })
  await vi.waitFor(() => expect(held.map(({ taken }) => taken)).toEqual([partSize, partSize]))
  held[1]?.answer()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect([held.length, told]).toEqual([2, []])
  held[0]?.answer()
  await vi.waitFor(() => expect(held.length).toBe(4))
  held[3]?.answer()
  held[2]?.answer()
  const parts = await uploading
  expect(parts.map(({ key, size }) => [key.at(-1), size])).toEqual([
    ['0', partSize],
    ['1', partSize],
    ['2', partSize],
    ['3', 1000],
  ])
  expect(told).toEqual(['0', '1', '2', '3'].flatMap((n) => [`begin ${n}`, `end ${n}`]))
})

test('when it is told that one of two has failed, the other has ended too', async () => {
  const store = new MemoryStore()
  madeFile()
  const held = heldUploads(store)
  const error = new Error('the disk is full')
  const onPart = () => {
    throw error
  }
  const failed = rejectionOf(upload(store, { onPart }))
  await vi.waitFor(() => expect(held.map(({ taken }) => taken)).toEqual([partSize, partSize]))
  held[0]?.answer()
  expect(await failed).toBe(error)
  expect(held.map(({ hasEnded }) => hasEnded)).toEqual([true, true])
})

test('a store that takes less than there is, and says that all is well, is not believed', async () => {
  const store = new MemoryStore()
  madeFile()
  vi.spyOn(store, 'upload').mockImplementation(async (key, stream) => {
    for await (const piece of stream) return { ...(await store.put(key, piece.subarray(1))), size: partSize }
    throw new Error('unreachable')
  })
  // Only the bytes taken from the stream can be checked here, not the bytes that were put.
  madeFile(3 * 2 ** 20)
  expect((await rejectionOf(upload(store, { partSize: 2 ** 21 }))).code).toBe('ERR_STILLFRAME_IO')
})

test('a file that becomes shorter while it is uploaded is told', async () => {
  const store = new MemoryStore()
  madeFile()
  const onPart = (): void => writeFileSync(inDirectory('from'), 'short')
  expect((await rejectionOf(upload(store, { onPart }))).message).toContain('was truncated')
})

test('what is there already is not overwritten by a download', async () => {
  const store = new MemoryStore()
  madeFile()
  const parts = await upload(store)
  writeFileSync(inDirectory('to'), 'mine')
  expect((await rejectionOf(download(store, parts))).code).toBe('ERR_STILLFRAME_IO')
  expect(readFileSync(inDirectory('to'), 'utf8')).toBe('mine')
})
