/**
 * Promise: `stillframe/s3` turns a bucket on a real server into an object store, and leaves no
 * partial upload there.
 *
 * Proved by the tests that all stores run, by the official client against the RADOS gateway of
 * Ceph, and by asking that server for its contents.
 */

import { randomBytes } from 'node:crypto'
import {
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3'
import { afterAll, expect, type TestContext, test } from 'vitest'
import { s3 } from '../../lib/s3/index.js'
import type { Keys } from '../../lib/store/encryption.js'
import { PrefixedStore } from '../../lib/store/prefixed-store.js'
import { SealedStore } from '../../lib/store/sealed-store.js'
import type { ObjectStore } from '../../lib/store/store.js'
import { rejectionOf } from '../support/expect-error.js'
import { clientOf, needsS3Server, newBucket } from '../support/s3-server.js'
import { bytes, digest, keysOf, pieces, testContract, text } from './contract.js'

const MiB = 2 ** 20

const clients: S3Client[] = []
afterAll(() => {
  for (const client of clients) client.destroy()
})

interface Opened {
  readonly client: S3Client
  readonly bucket: string
  readonly store: ObjectStore
}

async function open(context: TestContext): Promise<Opened> {
  const client = clientOf(await needsS3Server(context))
  clients.push(client)
  const bucket = await newBucket(client)
  return { client, bucket, store: s3({ client, bucket, prefix: 'backups/orders' }) }
}

/** Keys of objects, and of uploads that have been neither completed nor aborted. */
async function contentOf({ client, bucket }: Opened): Promise<{ objects: string[]; uploads: string[] }> {
  const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }))
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
  return { objects: Contents.map(({ Key = '' }) => Key), uploads: Uploads.map(({ Key = '' }) => Key) }
}

testContract(async (context) => (await open(context)).store)

test('objects have the prefix in the bucket, and others are not seen', async (context) => {
  const opened = await open(context)
  const { client, bucket, store } = opened
  await store.put('a/b', bytes('mine'))
  for (const Key of [
    'a/b',
    'backups/orders',
    'backups/orders/',
    'backups/orders-2/a',
    'backups/orders/a/no key',
  ]) {
    await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body: 'other' }))
  }
  expect((await contentOf(opened)).objects).toContain('backups/orders/a/b')
  expect(await keysOf(store, '')).toEqual(['a/b'])
  expect(text(await store.get('a/b'))).toBe('mine')
  for (const prefix of ['', undefined]) {
    expect(text(await s3({ client, bucket, prefix }).get('a/b'))).toBe('other')
  }
  expect(await keysOf(s3({ client, bucket, prefix: 'backups/' }), '')).toEqual([
    'orders',
    'orders-2/a',
    'orders/a/b',
  ])
})

test('a list goes on over all of its pages', async (context) => {
  const { store } = await open(context)
  const keys = Array.from({ length: 1_203 }, (_, n) => `k/${String(n).padStart(20, '0')}`)
  for (let at = 0; at < keys.length; at += 40) {
    await Promise.all(keys.slice(at, at + 40).map((key) => store.put(key, bytes(key))))
  }
  await store.put('l', bytes('behind'))
  expect(await keysOf(store, 'k/')).toEqual(keys)
})

test('uploads that fail or are aborted leave nothing on the server', async (context) => {
  const opened = await open(context)
  const { store } = opened
  const large = randomBytes(40 * MiB)
  const failing = async function* () {
    yield* pieces(large, MiB)
    throw new Error('no more')
  }
  await expect(store.upload('failing', failing())).rejects.toThrow('no more')
  expect((await rejectionOf(store.upload('short', pieces(large, MiB), { size: 41 * MiB }))).code).toBe(
    'ERR_STILLFRAME_IO',
  )
  const abort = new AbortController()
  const aborting = async function* () {
    yield* pieces(large, MiB)
    abort.abort('enough')
    yield* pieces(large, MiB)
  }
  await expect(store.upload('aborted', aborting(), { signal: abort.signal })).rejects.toBe('enough')
  expect(await contentOf(opened)).toEqual({ objects: [], uploads: [] })
  // Shows that an upload is visible while it is not aborted.
  let go = () => {}
  const gate = new Promise<void>((resolve) => {
    go = resolve
  })
  const waiting = async function* () {
    yield large
    await gate
  }
  const upload = store.upload('whole', waiting())
  await expect.poll(async () => (await contentOf(opened)).uploads).toEqual(['backups/orders/whole'])
  go()
  await upload
  expect(await contentOf(opened)).toEqual({ objects: ['backups/orders/whole'], uploads: [] })
})

test('what dead processes have begun to upload is taken back if it is asked for, and nothing of others', async (context) => {
  const opened = await open(context)
  const { client, bucket, store } = opened
  const shard = new PrefixedStore(store, 'data')
  const within = ['data/a', 'data/b', 'data/c', 'other/a']
  const keys = [...within.map((key) => `backups/orders/${key}`), 'backups/orders-2/data/a', 'data/a']
  for (const Key of [...keys, ...keys])
    await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key }))
  const asked: string[] = []
  const removed = await store.removeUnfinished?.('data/', (key, begunAt) => {
    asked.push(key)
    expect(Math.abs(begunAt.getTime() - Date.now())).toBeLessThan(300_000)
    return key !== 'data/b'
  })
  expect(asked.sort()).toEqual(['data/a', 'data/a', 'data/b', 'data/b', 'data/c', 'data/c'])
  expect(removed).toBe(4)
  const left = keys.filter((key) => !['backups/orders/data/a', 'backups/orders/data/c'].includes(key))
  expect((await contentOf(opened)).uploads.sort()).toEqual([...left, ...left].sort())
  expect(await shard.removeUnfinished('', (key) => key === 'b')).toBe(2)
  expect(await new SealedStore(store, {} as Keys).removeUnfinished('other/', () => true)).toBe(2)
  expect((await contentOf(opened)).uploads.length).toBe(4)
  const nobody = s3({ client, bucket: 'no-such-bucket' })
  expect((await rejectionOf(nobody.removeUnfinished?.('', () => true) as Promise<number>)).code).toBe(
    'ERR_STILLFRAME_IO',
  )
})

test('with the checksums that the client makes by itself, all of it works too', async (context) => {
  const server = await needsS3Server(context)
  const client = clientOf(server, {
    requestChecksumCalculation: 'WHEN_SUPPORTED',
    responseChecksumValidation: 'WHEN_SUPPORTED',
  })
  clients.push(client)
  const store = s3({ client, bucket: await newBucket(client) })
  await store.put('small', bytes('small'), { ifAbsent: true })
  expect(text(await store.get('small'))).toBe('small')
  const large = randomBytes(20 * MiB)
  await store.upload('large', pieces(large, MiB))
  expect(digest((await store.get('large')).body)).toBe(digest(large))
})

test('a bucket that is not there is told as one', async (context) => {
  const { client } = await open(context)
  const store = s3({ client, bucket: 'test-not-there' })
  const operations = [() => store.put('a', bytes('a')), () => store.get('a'), () => keysOf(store, '')]
  for (const operation of operations) {
    const error = await rejectionOf(operation())
    expect([error.code, error.message.includes('NoSuchBucket')]).toEqual(['ERR_STILLFRAME_IO', true])
  }
})

test('options that are missing or wrong are refused', () => {
  const client = { send: () => {} } as unknown as S3Client
  const refused = [
    [undefined, 'options.client'],
    [{ client: {}, bucket: 'b' }, 'options.client'],
    [{ client }, 'options.bucket'],
    [{ client, bucket: '' }, 'options.bucket'],
    [{ client, bucket: 'b', prefix: '/a' }, 'options.prefix'],
    [{ client, bucket: 'b', prefix: 'a//' }, 'options.prefix'],
    [{ client, bucket: 'b', Prefix: 'a' }, 'options.Prefix'],
  ] as const
  for (const [options, name] of refused) {
    expect(() => s3(options as Parameters<typeof s3>[0])).toThrow(name)
  }
})
