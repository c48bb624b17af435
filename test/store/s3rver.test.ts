/**
 * Promise: a store with a missing feature is recognized by its behavior, without its name and
 * version: a store without conditional writes does not refuse a `put` that it should refuse, an
 * unordered list is reported, and no range is mistaken for another.
 *
 * Proved with s3rver, which is such a store.
 */

import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import type { S3Client } from '@aws-sdk/client-s3'
import { afterEach, expect, type TestContext, test } from 'vitest'
import { s3 } from '../../lib/s3/index.js'
import type { ObjectStore } from '../../lib/store/store.js'
import { rejectionOf } from '../support/expect-error.js'
import { clientOf, newBucket } from '../support/s3-server.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { bytes, digest, keysOf, pieces, text } from './contract.js'

const inDirectory = useTemporaryDirectory()
const home = 'build-aside/s3rver'
const module = fileURLToPath(new URL(`../../${home}/node_modules/s3rver`, import.meta.url))

interface S3rver {
  run(): Promise<{ port: number }>
  close(): Promise<void>
}
type Constructor = new (options: Record<string, unknown>) => S3rver

let server: S3rver | undefined
let client: S3Client | undefined
afterEach(async () => {
  client?.destroy()
  await server?.close()
  server = undefined
})

/**
 * Opens a bucket of s3rver, which is not a dependency of this package since it brings a hundred
 * packages.
 */
async function open(context: TestContext): Promise<ObjectStore> {
  const Server = serverOf(context)
  mkdirSync(inDirectory('buckets'))
  const options = { address: '127.0.0.1', port: 0, silent: true, directory: inDirectory('buckets') }
  server = new Server(options)
  const { port } = await server.run()
  client = clientOf({
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    accessKeyId: 'S3RVER',
    secretAccessKey: 'S3RVER',
  })
  return s3({ client, bucket: await newBucket(client), prefix: 'prefix' })
}

function serverOf(context: TestContext): Constructor {
  try {
    return createRequire(import.meta.url)(module) as Constructor
  } catch {
    return context.skip(`needs the package: npm install --prefix ${home} s3rver@3.7.1`)
  }
}

test('a put that should be refused is not, and replaces what is there', async (context) => {
  const store = await open(context)
  await store.put('a', bytes('first'), { ifAbsent: true })
  await store.put('a', bytes('second'), { ifAbsent: true })
  expect(text(await store.get('a'))).toBe('second')
  await store.put('a', bytes('third'), { ifMatch: 'x' })
  expect(text(await store.get('a'))).toBe('third')
})

test('what it has is right all the same', async (context) => {
  const store = await open(context)
  const large = randomBytes(20 * 2 ** 20)
  await store.upload('d/large', pieces(large, 1_000_003))
  const { body } = await store.get('d/large', { range: [5, 9_000_000] })
  expect(digest(body)).toBe(digest(large.subarray(5, 9_000_000)))
  expect((await store.head('d/large'))?.size).toBe(large.length)
  await store.delete('d/large')
  expect(await store.head('d/large')).toBeUndefined()
})

test('its lists have no order, and are told so', async (context) => {
  const store = await open(context)
  for (const key of ['a/b', 'a-b']) await store.put(key, bytes(key))
  expect((await rejectionOf(keysOf(store, ''))).code).toBe('ERR_STILLFRAME_UNSUPPORTED_STORE')
  expect(await keysOf(store, 'a/')).toEqual(['a/b'])
})

test('it gives all of an object for its first byte, which is refused', async (context) => {
  const store = await open(context)
  await store.put('a', bytes('content'))
  expect((await rejectionOf(store.get('a', { range: [0, 1] }))).code).toBe('ERR_STILLFRAME_IO')
})
