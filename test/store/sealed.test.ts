/**
 * Promise: sealing lets nothing but lengths, times and names leave the process, and opening returns
 * the sealed bytes or an error: bytes that were changed, moved, cut off or added are detected, and
 * so is a wrong key (I18, T31).
 *
 * Proved on objects around the borders of blocks: every byte flipped, every end cut, every two
 * blocks and objects swapped.
 */

import { createSecretKey, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { checkEncryption, type EncryptionKey } from '../../lib/store/encryption.js'
import { SealedStore } from '../../lib/store/sealed-store.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { Random } from '../support/random.mjs'
import { MemoryStore } from './memory-store.js'

const block = 65_536
const key = Buffer.alloc(32, 7)
const sizes = [0, 1, block - 1, block, block + 1, 2 * block, 3 * block + 5]

function seal(store: MemoryStore, given: unknown = { key }): SealedStore {
  return new SealedStore(store, checkEncryption(given))
}

/** The bytes in the store. */
function bodyOf(store: MemoryStore, key: string): Buffer {
  return Buffer.from(store.objects.get(key)?.body ?? Buffer.alloc(0))
}

function bytesOf(size: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(size)
  new Random(seed).fill(bytes)
  return bytes
}

/** Pieces of unequal lengths, in memory that is reused. */
async function* pieces(bytes: Buffer, seed: number): AsyncGenerator<Uint8Array> {
  const random = new Random(seed)
  const memory = Buffer.alloc(100_000)
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(1 + random.below(memory.length), bytes.length - at)
    bytes.copy(memory, 0, at, at + length)
    yield memory.subarray(0, length)
    memory.fill(0xdd)
    at += length
  }
}

describe.each(sizes)('an object of %d bytes', (size) => {
  const bytes = bytesOf(size)

  test.each(['put', 'upload'])('comes back by %s, whole and in every range', async (how) => {
    const inner = new MemoryStore()
    const store = seal(inner)
    if (how === 'put') await store.put('a/b', bytes)
    else expect(await store.upload('a/b', pieces(bytes, size + 1))).toMatchObject({ size })
    const whole = await store.get('a/b')
    expect(whole.size).toBe(size)
    expect(bytes.equals(whole.body)).toBe(true)
    expect(await store.head('a/b')).toMatchObject({ key: 'a/b', size })
    expect(bodyOf(inner, 'a/b').length).toBeGreaterThan(size)
    const borders = [0, 1, block - 1, block, block + 1, 2 * block, size - 1, size].filter(
      (at) => at >= 0 && at <= size,
    )
    for (const start of borders) {
      for (const end of borders.filter((at) => at > start)) {
        const { body } = await store.get('a/b', { range: [start, end] })
        expect(bytes.subarray(start, end).equals(body), `${start} to ${end}`).toBe(true)
      }
    }
    for await (const listed of store.list('')) expect(listed).toMatchObject({ key: 'a/b', size })
    expect(await rejectionOf(store.get('a/b', { range: [0, size + 1] }))).toMatchObject({
      code: 'ERR_STILLFRAME_IO',
    })
  })

  test('is refused when it was cut off or goes on', async () => {
    const inner = new MemoryStore()
    await seal(inner).put('a', bytes)
    const sealed = Buffer.from(bodyOf(inner, 'a'))
    const cuts = [0, 1, 63, 64, 79, 80, sealed.length - 1, sealed.length - 16, sealed.length - 17]
    for (let at = 64; at < sealed.length; at += block + 16) cuts.push(at)
    for (const cut of cuts.filter((at) => at >= 0 && at < sealed.length)) {
      await inner.put('a', sealed.subarray(0, cut))
      expect(await rejectionOf(seal(inner).get('a')), `cut at ${cut}`).toMatchObject({
        code: 'ERR_STILLFRAME_CORRUPT',
      })
    }
    for (const more of [1, 16, 17, block + 16]) {
      await inner.put(
        'a',
        Buffer.concat([sealed, sealed.subarray(-Math.min(more, sealed.length)), Buffer.alloc(more)]),
      )
      expect(await rejectionOf(seal(inner).get('a')), `${more} more`).toMatchObject({
        code: 'ERR_STILLFRAME_CORRUPT',
      })
    }
  })
})

test('every byte that is changed is found, also by reading a range', async () => {
  const inner = new MemoryStore()
  const bytes = bytesOf(40)
  await seal(inner).put('a', bytes)
  const sealed = Buffer.from(bodyOf(inner, 'a'))
  for (let at = 0; at < sealed.length; at++) {
    for (const bit of [1, 0x80]) {
      const changed = Buffer.from(sealed)
      changed[at] = (changed[at] ?? 0) ^ bit
      await inner.put('a', changed)
      // The header also contains the id of the key, and the changed byte may be in that id.
      const expected = expect.stringMatching(/^ERR_STILLFRAME_(CORRUPT|KEY)$/)
      expect(await rejectionOf(seal(inner).get('a')), `byte ${at}`).toMatchObject({ code: expected })
      expect(await rejectionOf(seal(inner).get('a', { range: [3, 5] })), `byte ${at}`).toMatchObject({
        code: expected,
      })
    }
  }
})

test('blocks that have changed places, within an object or between two, are found', async () => {
  const inner = new MemoryStore()
  for (const name of ['a', 'b']) await seal(inner).put(name, bytesOf(3 * block, name.charCodeAt(0)))
  const [a, b] = ['a', 'b'].map((name) => Buffer.from(bodyOf(inner, name))) as [Buffer, Buffer]
  const blockOf = (sealed: Buffer, index: number): Buffer =>
    sealed.subarray(64 + index * (block + 16), 64 + (index + 1) * (block + 16))
  const together = (head: Buffer, ...blocks: Buffer[]): Buffer =>
    Buffer.concat([head.subarray(0, 64), ...blocks])
  for (const [what, object] of [
    ['two blocks', together(a, blockOf(a, 1), blockOf(a, 0), blockOf(a, 2))],
    ['one twice', together(a, blockOf(a, 0), blockOf(a, 0), blockOf(a, 2))],
    ['the last one in the middle', together(a, blockOf(a, 0), blockOf(a, 2), blockOf(a, 2))],
    ['one of another object', together(a, blockOf(a, 0), blockOf(b, 1), blockOf(a, 2))],
    ['all of another object', b],
  ] as const) {
    await inner.put('a', object)
    expect(await rejectionOf(seal(inner).get('a')), what).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
  }
})

test('nothing of the content is in what leaves the process, and the same content looks another way each time', async () => {
  const inner = new MemoryStore()
  const store = seal(inner)
  const secret = randomBytes(16)
  const bytes = Buffer.concat(Array.from({ length: 10_000 }, () => secret))
  await store.put('a', bytes)
  await store.upload('b', pieces(bytes, 3))
  for (const name of ['a', 'b']) expect(bodyOf(inner, name).includes(secret.subarray(0, 6)), name).toBe(false)
  const blockIn = (name: string): Buffer => Buffer.from(bodyOf(inner, name).subarray(64, 64 + block))
  expect(blockIn('a').equals(blockIn('b'))).toBe(false)
  expect(Buffer.from(bodyOf(inner, 'a')).includes(key)).toBe(false)
})

test('what is put again in the place of an object is read, also in ranges', async () => {
  const inner = new MemoryStore()
  const store = seal(inner)
  await store.put('a', bytesOf(3 * block, 1))
  await store.get('a', { range: [block, block + 5] })
  await seal(inner).put('a', bytesOf(2 * block, 2))
  const { body, size } = await store.get('a', { range: [block, block + 5] })
  expect({ body: Buffer.from(body), size }).toEqual({
    body: bytesOf(2 * block, 2).subarray(block, block + 5),
    size: 2 * block,
  })
})

test('conditions hold for sealed objects too', async () => {
  const store = seal(new MemoryStore())
  const { etag } = await store.put('a', bytesOf(5), { ifAbsent: true })
  expect(await rejectionOf(store.put('a', bytesOf(5), { ifAbsent: true }))).toMatchObject({
    code: 'ERR_STILLFRAME_EXISTS',
  })
  await store.put('a', bytesOf(6), { ifMatch: etag })
  expect(await rejectionOf(store.put('a', bytesOf(5), { ifMatch: etag }))).toMatchObject({
    code: 'ERR_STILLFRAME_EXISTS',
  })
  await store.delete('a')
  expect(await rejectionOf(store.get('a'))).toMatchObject({ code: 'ERR_STILLFRAME_NOT_FOUND' })
})

describe('keys', () => {
  test('with another key an object is refused by the name of the key, and what is not sealed as damaged', async () => {
    const inner = new MemoryStore()
    await seal(inner).put('a', bytesOf(5))
    const error = await rejectionOf(seal(inner, { key: Buffer.alloc(32, 8) }).get('a'))
    expect(error).toMatchObject({
      code: 'ERR_STILLFRAME_KEY',
      message: expect.stringMatching(/'a' is sealed with key '[0-9a-f]{16}'/),
    })
    // The same key, in another representation.
    expect((await seal(inner, { key: createSecretKey(key) }).get('a')).size).toBe(5)
    await inner.put('a', bytesOf(200))
    expect(await rejectionOf(seal(inner).get('a'))).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
  })

  test('are rotated by a provider: what was sealed before can still be read', async () => {
    const inner = new MemoryStore()
    const ring = new Map<string, EncryptionKey>()
    let current = ''
    const add = (id: string): void => {
      ring.set(id, { id, key: randomBytes(32) })
      current = id
    }
    const store = seal(inner, { keyProvider: async (id?: string) => ring.get(id ?? current) })
    expect(await rejectionOf(store.put('a', bytesOf(5)))).toMatchObject({ code: 'ERR_STILLFRAME_KEY' })
    add('2026-11')
    await store.put('a', bytesOf(5, 1))
    add('2026-12')
    await store.put('b', bytesOf(5, 2))
    for (const [name, seed] of [
      ['a', 1],
      ['b', 2],
    ] as const)
      expect(bytesOf(5, seed).equals((await store.get(name)).body)).toBe(true)
    ring.delete('2026-11')
    expect(
      await rejectionOf(seal(inner, { keyProvider: (id?: string) => ring.get(id ?? current) }).get('a')),
    ).toMatchObject({
      code: 'ERR_STILLFRAME_KEY',
      message: expect.stringContaining("'2026-11'"),
    })
  })

  test('of a provider that fails, or answers with what is no key, are told', async () => {
    const cases: [unknown, object][] = [
      [
        () => {
          throw new Error('no vault')
        },
        { code: 'ERR_STILLFRAME_CALLBACK', cause: new Error('no vault') },
      ],
      [() => ({ id: 'a b', key }), { code: 'ERR_INVALID_ARG_VALUE' }],
      [() => ({ id: 'a', key: Buffer.alloc(16) }), { code: 'ERR_INVALID_ARG_VALUE' }],
      [() => 'key', { code: 'ERR_INVALID_ARG_TYPE' }],
    ]
    for (const [keyProvider, expected] of cases)
      expect(await rejectionOf(seal(new MemoryStore(), { keyProvider }).put('a', bytesOf(1)))).toMatchObject(
        expected,
      )
  })

  test.each([
    [undefined, 'ERR_INVALID_ARG_VALUE'],
    [{}, 'ERR_INVALID_ARG_VALUE'],
    [{ key, keyProvider: () => undefined }, 'ERR_INVALID_ARG_VALUE'],
    [{ key: 'secret' }, 'ERR_INVALID_ARG_TYPE'],
    [{ key: Buffer.alloc(31) }, 'ERR_INVALID_ARG_VALUE'],
    [{ keyProvider: 'x' }, 'ERR_INVALID_ARG_TYPE'],
    [{ secret: key }, 'ERR_INVALID_ARG_VALUE'],
  ])('%j is refused', (given, code) => {
    expect(thrownBy(() => checkEncryption(given))).toMatchObject({ code })
  })
})
