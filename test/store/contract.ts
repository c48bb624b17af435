/** The contract of every object store (`lib/store/store.ts`), as tests that run for each store. */

import { createHash, randomBytes } from 'node:crypto'
import { expect, type TestContext, test } from 'vitest'
import type { ObjectStore } from '../../lib/store/store.js'
import { rejectionOf } from '../support/expect-error.js'

/** @param open - makes an empty store, or skips the test. */
export function testContract(open: (context: TestContext) => Promise<ObjectStore>): void {
  test('what is put is got, with its size, its etag and its time', async (context) => {
    const store = await open(context)
    const body = randomBytes(100_000)
    // A view into a larger buffer.
    const { etag } = await store.put('data/a.b_c-1/X', body.subarray(1_000, 90_000))
    const got = await store.get('data/a.b_c-1/X')
    expect(digest(got.body)).toBe(digest(body.subarray(1_000, 90_000)))
    expect({ ...got, body: undefined, lastModified: undefined }).toEqual({
      key: 'data/a.b_c-1/X',
      size: 89_000,
      etag,
    })
    expect(await store.head('data/a.b_c-1/X')).toEqual({
      key: 'data/a.b_c-1/X',
      size: 89_000,
      etag,
      lastModified: got.lastModified,
    })
    expect(etag).toMatch(/^[^"]+$/)
    expect(got.lastModified.getTime()).toBeGreaterThan(0)
  })

  test('an object may be empty', async (context) => {
    const store = await open(context)
    await store.put('empty', new Uint8Array(0))
    const { body, size } = await store.get('empty')
    expect([body.length, size]).toEqual([0, 0])
    await store.upload('uploaded', chunks())
    expect((await store.get('uploaded')).body.length).toBe(0)
  })

  test('a put replaces what is there, and the etag changes with the content', async (context) => {
    const store = await open(context)
    const first = await store.put('a', bytes('first'))
    const second = await store.put('a', bytes('again'))
    expect(second.etag).not.toBe(first.etag)
    expect(text(await store.get('a'))).toBe('again')
    expect((await store.head('a'))?.etag).toBe(second.etag)
  })

  test('what is not there is NOT_FOUND to get, undefined to head, and nothing to delete', async (context) => {
    const store = await open(context)
    for (const key of ['a', 'a/b/c']) {
      expect((await rejectionOf(store.get(key))).code).toBe('ERR_STILLFRAME_NOT_FOUND')
      expect((await rejectionOf(store.get(key, { range: [0, 1] }))).code).toBe('ERR_STILLFRAME_NOT_FOUND')
      expect(await store.head(key)).toBeUndefined()
      await store.delete(key)
    }
    expect(await keysOf(store, '')).toEqual([])
  })

  test('what is deleted is gone, and its neighbours are not', async (context) => {
    const store = await open(context)
    for (const key of ['d/1/a', 'd/1/b', 'd/2/a']) await store.put(key, bytes(key))
    await store.delete('d/1/a')
    await store.delete('d/2/a')
    expect(await store.head('d/1/a')).toBeUndefined()
    expect(await keysOf(store, '')).toEqual(['d/1/b'])
    await store.put('d/2/a', bytes('once more'))
    expect(text(await store.get('d/2/a'))).toBe('once more')
  })

  test('a range is the bytes from its start up to its end', async (context) => {
    const store = await open(context)
    const body = randomBytes(1_000)
    await store.put('a', body)
    for (const range of [
      [0, 1],
      [10, 500],
      [999, 1_000],
      [0, 1_000],
    ] as const) {
      const got = await store.get('a', { range })
      expect(digest(got.body)).toBe(digest(body.subarray(...range)))
      expect(got.size).toBe(1_000)
    }
  })

  test('a range that the object does not have is an error, and never fewer bytes', async (context) => {
    const store = await open(context)
    await store.put('a', randomBytes(1_000))
    for (const range of [
      [0, 1_001],
      [999, 1_001],
      [1_000, 1_001],
      [5_000, 6_000],
    ] as const) {
      expect((await rejectionOf(store.get('a', { range }))).code).toBe('ERR_STILLFRAME_IO')
    }
    await expect(store.get('a', { range: [5, 5] })).rejects.toThrow(RangeError)
    await expect(store.get('a', { range: [-1, 5] })).rejects.toThrow(RangeError)
  })

  test('a list has the keys that begin so, in their order, with size and time', async (context) => {
    const store = await open(context)
    // Sorted by bytes: '-' and '.' come before '/', and capital letters before small ones.
    const keys = [
      'a-b/c',
      'a.b',
      'a/B',
      'a/b/c',
      'a/b0',
      'a0',
      'b/0000000001',
      'b/0000000010',
      'b/0000000002',
    ]
    for (const key of [...keys].reverse()) await store.put(key, bytes(key))
    expect(await keysOf(store, '')).toEqual([...keys].sort())
    expect(await keysOf(store, 'a/')).toEqual(['a/B', 'a/b/c', 'a/b0'])
    expect(await keysOf(store, 'a/b')).toEqual(['a/b/c', 'a/b0'])
    expect(await keysOf(store, 'a/b/')).toEqual(['a/b/c'])
    expect(await keysOf(store, 'b/00000000')).toEqual(['b/0000000001', 'b/0000000002', 'b/0000000010'])
    expect(await keysOf(store, 'c')).toEqual([])
    for await (const listed of store.list('a')) {
      expect(listed.size).toBe(listed.key.length)
      const { lastModified } = (await store.head(listed.key)) ?? {}
      // Some stores report only whole seconds in one of the two places.
      expect(Math.abs(listed.lastModified.getTime() - (lastModified?.getTime() ?? 0))).toBeLessThan(1_000)
    }
  })

  test('what is put later is not told as older', async (context) => {
    const store = await open(context)
    let last = 0
    for (const key of ['c', 'b', 'a']) {
      await store.put(key, bytes(key))
      const { lastModified } = await store.get(key)
      expect(lastModified.getTime()).toBeGreaterThanOrEqual(last)
      last = lastModified.getTime()
    }
  })

  for (const size of [1, 8 * MiB - 1, 8 * MiB, 20 * MiB + 12_345]) {
    test(`an upload of ${size} bytes is there as it was streamed`, async (context) => {
      const store = await open(context)
      const body = randomBytes(size)
      const { etag, size: uploaded } = await store.upload('a/b', pieces(body, 1_000_003))
      expect(uploaded).toBe(size)
      const got = await store.get('a/b')
      expect(digest(got.body)).toBe(digest(body))
      expect(got.etag).toBe(etag)
      // Again with the size given, over the existing object.
      const again = randomBytes(size)
      await store.upload('a/b', pieces(again, 3 * MiB), { size })
      expect(digest((await store.get('a/b')).body)).toBe(digest(again))
    })
  }

  test.for([
    { name: 'ends early', length: 9 * MiB, size: 9 * MiB + 1 },
    { name: 'goes on', length: 9 * MiB, size: 9 * MiB - 1 },
    { name: 'ends early, and is short', length: 10, size: 11 },
    { name: 'goes on, and is short', length: 10, size: 9 },
    { name: 'goes on after a whole part', length: 8 * MiB + 1, size: 8 * MiB },
  ])('an upload that $name is an error, and leaves what was there', async ({ length, size }, context) => {
    const store = await open(context)
    await store.put('old', bytes('old'))
    for (const key of ['old', 'new']) {
      const upload = store.upload(key, pieces(randomBytes(length), MiB), { size })
      expect((await rejectionOf(upload)).code).toBe('ERR_STILLFRAME_IO')
    }
    expect(text(await store.get('old'))).toBe('old')
    expect(await keysOf(store, '')).toEqual(['old'])
  })

  test('what the stream of an upload throws is thrown as it is, and leaves what was there', async (context) => {
    const store = await open(context)
    await store.put('old', bytes('old'))
    for (const length of [10, 20 * MiB]) {
      const failing = async function* () {
        yield* pieces(randomBytes(length), MiB)
        throw new RangeError('no more')
      }
      await expect(store.upload('old', failing())).rejects.toThrow(new RangeError('no more'))
    }
    const nonsense = chunks('text' as unknown as Uint8Array)
    expect((await rejectionOf(store.upload('old', nonsense))).code).toBe('ERR_INVALID_ARG_TYPE')
    expect(text(await store.get('old'))).toBe('old')
  })

  test('an abort ends an upload whose stream hangs, with its reason, and ends the stream', async (context) => {
    const store = await open(context)
    await store.put('old', bytes('old'))
    for (const length of [10, 20 * MiB]) {
      const abort = new AbortController()
      let ended = false
      const hanging = {
        [Symbol.asyncIterator]: () => {
          const some = pieces(randomBytes(length), MiB)
          return {
            next: async () => {
              const next = await some.next()
              if (!next.done) return next
              setImmediate(() => abort.abort('that will do'))
              return new Promise<never>(() => {})
            },
            return: async () => {
              ended = true
              return { done: true as const, value: undefined }
            },
          }
        },
      }
      const upload = store.upload('old', hanging, { signal: abort.signal })
      await expect(upload).rejects.toBe('that will do')
      expect(ended).toBe(true)
    }
    expect(text(await store.get('old'))).toBe('old')
  })

  test('a signal that is aborted ends every operation before it begins', async (context) => {
    const store = await open(context)
    await store.put('a', bytes('a'))
    const signal = AbortSignal.abort('enough')
    await expect(store.put('b', bytes('b'), { signal })).rejects.toBe('enough')
    await expect(store.get('a', { signal })).rejects.toBe('enough')
    await expect(store.head('a', { signal })).rejects.toBe('enough')
    await expect(store.delete('a', { signal })).rejects.toBe('enough')
    await expect(store.upload('b', chunks(bytes('b')), { signal })).rejects.toBe('enough')
    await expect(keysOf(store, '', signal)).rejects.toBe('enough')
    expect(await keysOf(store, '')).toEqual(['a'])
  })

  test('keys that lead elsewhere are refused by every operation', async (context) => {
    const store = await open(context)
    const long = 'x'.repeat(201)
    for (const key of [
      '',
      '/a',
      'a/',
      'a//b',
      '.',
      '..',
      'a/../b',
      './a',
      'a b',
      'ä',
      'a\0b',
      'a\\b',
      long,
      7,
    ]) {
      const operations = [
        () => store.put(key as string, bytes('')),
        () => store.get(key as string),
        () => store.head(key as string),
        () => store.delete(key as string),
        () => store.upload(key as string, chunks()),
      ]
      for (const operation of operations) {
        expect((await rejectionOf(operation())).code).toMatch(/^ERR_INVALID_ARG_(TYPE|VALUE)$/)
      }
    }
    for (const prefix of ['/', '../', 'a//', 'ä', 7]) {
      await expect(keysOf(store, prefix as string)).rejects.toThrow(TypeError)
    }
    await store.put('..a/b..c/...', bytes('fine'))
    expect(await keysOf(store, '..')).toEqual(['..a/b..c/...'])
  })

  test('options that are not known, or not possible, are refused', async (context) => {
    const store = await open(context)
    const refused = [
      () => store.put('a', bytes(''), { ifabsent: true } as object),
      () => store.put('a', bytes(''), { ifAbsent: true, ifMatch: 'x' }),
      () => store.put('a', 'text' as unknown as Uint8Array),
      () => store.get('a', { start: 5 } as object),
      () => store.get('a', { range: [1] as unknown as [number, number] }),
      () => store.upload('a', 'text' as unknown as AsyncIterable<Uint8Array>),
      () => store.upload('a', chunks(), { ifAbsent: true } as object),
    ]
    for (const operation of refused) {
      expect((await rejectionOf(operation())).code).toMatch(/^ERR_INVALID_ARG_(TYPE|VALUE)$/)
    }
    expect(await keysOf(store, '')).toEqual([])
  })

  test('ifAbsent puts what is not there, and leaves what is', async (context) => {
    const store = await open(context)
    const { etag } = await store.put('d/a', bytes('first'), { ifAbsent: true })
    const error = await rejectionOf(store.put('d/a', bytes('second'), { ifAbsent: true }))
    expect(error.code).toBe('ERR_STILLFRAME_EXISTS')
    expect(text(await store.get('d/a'))).toBe('first')
    expect((await store.head('d/a'))?.etag).toBe(etag)
    await store.delete('d/a')
    await store.put('d/a', bytes('third'), { ifAbsent: true })
  })

  test('ifMatch replaces what is known, and neither what is another nor what is not there', async (context) => {
    const store = await open(context)
    const first = await store.put('a', bytes('first'))
    const second = await store.put('a', bytes('second'), { ifMatch: first.etag })
    const known = (await store.head('a'))?.etag
    expect(known).toBe(second.etag)
    for (const etag of [first.etag, 'x'.repeat(32)]) {
      const error = await rejectionOf(store.put('a', bytes('third'), { ifMatch: etag }))
      expect(error.code).toBe('ERR_STILLFRAME_EXISTS')
    }
    expect(text(await store.get('a'))).toBe('second')
    const error = await rejectionOf(store.put('b', bytes('b'), { ifMatch: first.etag }))
    expect(error.code).toBe('ERR_STILLFRAME_EXISTS')
    expect(await store.head('b')).toBeUndefined()
  })

  test('of many who put the same key at once if it is absent, one does', async (context) => {
    const store = await open(context)
    for (const key of ['race/1', 'race/2', 'race/3']) {
      const winner = await winnerOf((name) => store.put(key, bytes(name), { ifAbsent: true }))
      expect(text(await store.get(key))).toBe(winner)
    }
  })

  test('of many who replace the same object at once, one does', async (context) => {
    const store = await open(context)
    let { etag } = await store.put('race', bytes('begin'))
    for (let round = 0; round < 3; round++) {
      const winner = await winnerOf((name) => store.put('race', bytes(`${round} ${name}`), { ifMatch: etag }))
      const got = await store.get('race')
      expect(text(got)).toBe(`${round} ${winner}`)
      etag = got.etag
    }
  })
}

const MiB = 2 ** 20

/**
 * Makes eight puts at once and returns the winner. All others must be refused because the object
 * exists.
 */
async function winnerOf(put: (name: string) => Promise<unknown>): Promise<string> {
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const outcomes = await Promise.allSettled(names.map(put))
  const winners = names.filter((_, at) => outcomes[at]?.status === 'fulfilled')
  const reasons = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []))
  expect(new Set(reasons)).toEqual(new Set(['ERR_STILLFRAME_EXISTS']))
  expect(winners.length).toBe(1)
  return winners[0] as string
}

export async function keysOf(store: ObjectStore, prefix: string, signal?: AbortSignal): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of store.list(prefix, { signal })) keys.push(key)
  return keys
}

export function bytes(content: string): Uint8Array {
  return new TextEncoder().encode(content)
}

export function text({ body }: { body: Uint8Array }): string {
  return new TextDecoder().decode(body)
}

/** A stream of these chunks. */
export async function* chunks(...those: Uint8Array[]): AsyncGenerator<Uint8Array, void, undefined> {
  yield* those
}

/** The same bytes in pieces of this length. */
export async function* pieces(body: Uint8Array, length: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < body.length; at += length) yield body.subarray(at, at + length)
}

/** A digest, which is short enough for the message of a failed comparison. */
export function digest(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex')
}
