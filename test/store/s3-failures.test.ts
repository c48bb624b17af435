/**
 * Promise: whatever a server or the network does to a request, `stillframe/s3` ends with the
 * requested result or with the right error, never with wrong or missing bytes, after a limited
 * number of attempts, and leaves no upload on the server.
 *
 * Proved with the official client against a server with the faults that a test chooses: errors,
 * lost answers, truncated bodies, wrong ranges.
 */

import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { s3 } from '../../lib/s3/index.js'
import type { ObjectStore } from '../../lib/store/store.js'
import { rejectionOf } from '../support/expect-error.js'
import { bytes, digest, pieces, text } from './contract.js'
import { type Fault, S3Double } from './s3-double.js'

const MiB = 2 ** 20

let double: S3Double
let store: ObjectStore
beforeEach(async () => {
  double = await S3Double.start()
  store = s3({ client: double.client(), bucket: 'bucket', prefix: 'some/where' })
})
afterEach(() => double.stop())

/** The key in the bucket. */
const at = (key: string) => `some/where/${key}`

/** Makes only the first of these requests fail. */
function failOnce(words: string, fault: Fault): void {
  double.fault = (asked, count) => (asked === words && count === 0 ? fault : undefined)
}

const passing: Fault[] = [
  { status: 503, code: 'SlowDown' },
  { status: 503, code: 'ServiceUnavailable' },
  { status: 500, code: 'InternalError' },
  { status: 502, code: 'BadGateway' },
  { status: 504, code: 'GatewayTimeout' },
  { status: 429, code: 'TooManyRequests' },
  { status: 409, code: 'ConditionalRequestConflict' },
  'dropped',
]

test.for(passing.map((fault) => [JSON.stringify(fault), fault] as const))(
  'what fails once with %s is asked again',
  async ([, fault]) => {
    for (const options of [{}, { ifAbsent: true }]) {
      double.objects.clear()
      double.requests.length = 0
      failOnce(`PUT ${at('a')}`, fault)
      await store.put('a', bytes('content'), options)
      expect(double.requests).toEqual([`PUT ${at('a')}`, `PUT ${at('a')}`])
    }
    failOnce(`GET ${at('a')}`, fault)
    double.requests.length = 0
    expect(text(await store.get('a'))).toBe('content')
    expect(double.requests.length).toBe(2)
    failOnce(`HEAD ${at('b')}`, fault)
    expect(await store.head('b')).toBeUndefined()
    double.requests.length = 0
    failOnce(`DELETE ${at('a')}`, fault)
    await store.delete('a')
    expect(double.requests.length).toBe(2)
  },
)

test('what goes on failing is given up after six tries, with what the server said as the cause', async () => {
  double.fault = () => ({ status: 503, code: 'SlowDown' })
  const error = await rejectionOf(store.put('a', bytes('a')))
  expect(error.code).toBe('ERR_STILLFRAME_IO')
  expect(error.message).toContain("Object 'a'")
  expect(error.message).toContain('503 SlowDown')
  expect((error.cause as Error).name).toBe('SlowDown')
  expect(double.requests.length).toBe(6)
})

test.for([
  { status: 403, code: 'AccessDenied' },
  { status: 400, code: 'InvalidRequest' },
  { status: 404, code: 'NoSuchBucket' },
])('$status $code is told at once', async (fault) => {
  double.fault = () => fault
  const operations = [
    () => store.put('a', bytes('a')),
    () => store.get('a'),
    () => store.put('a', bytes('a'), { ifMatch: 'x' }),
  ]
  for (const operation of operations) {
    const error = await rejectionOf(operation())
    expect(error.code).toBe('ERR_STILLFRAME_IO')
    expect(error.message).toContain(fault.code)
  }
  expect(double.requests.length).toBe(3)
})

test('a store that does not know conditions is told as one', async () => {
  double.fault = () => ({ status: 501, code: 'NotImplemented' })
  const error = await rejectionOf(store.put('a', bytes('a'), { ifAbsent: true }))
  expect(error.code).toBe('ERR_STILLFRAME_UNSUPPORTED_STORE')
})

test('a put whose answer is lost is EXISTS when it is asked again, and its own content is there', async () => {
  failOnce(`PUT ${at('a')}`, 'lost')
  const error = await rejectionOf(store.put('a', bytes('mine'), { ifAbsent: true }))
  expect(error.code).toBe('ERR_STILLFRAME_EXISTS')
  expect(text(await store.get('a'))).toBe('mine')
  // The same with the client's own retries, and with the other condition.
  const repeating = s3({ client: double.client(3), bucket: 'bucket', prefix: 'some/where/' })
  const etag = (await store.head('a'))?.etag
  double.requests.length = 0
  const again = await rejectionOf(repeating.put('a', bytes('mine too'), { ifMatch: etag }))
  expect(again.code).toBe('ERR_STILLFRAME_EXISTS')
  expect(text(await store.get('a'))).toBe('mine too')
})

test('a put without a condition whose answer is lost is put again', async () => {
  failOnce(`PUT ${at('a')}`, 'lost')
  await store.put('a', bytes('mine'))
  expect(double.requests.length).toBe(2)
})

const body = randomBytes(100_000)

test.for<[string, Fault]>([
  ['cut short', { cutAt: 50_000 }],
  ['cut at its first byte', { cutAt: 0 }],
  ['of unknown length', 'silent'],
])('a body that is %s is asked for again', async ([, fault]) => {
  await store.put('a', body)
  failOnce(`GET ${at('a')}`, fault)
  expect(digest((await store.get('a')).body)).toBe(digest(body))
  double.requests.length = 0
  failOnce(`GET ${at('a')}`, fault)
  const { body: part } = await store.get('a', { range: [10, 90_000] })
  expect(digest(part)).toBe(digest(body.subarray(10, 90_000)))
  expect(double.requests.length).toBe(2)
})

test.for<[string, Fault]>([
  ['is cut short', { cutAt: 50_000 }],
  ['has no length', 'silent'],
])('a body that always %s is an error, and never fewer bytes', async ([, fault]) => {
  await store.put('a', body)
  double.fault = (words) => (words.startsWith('GET') ? fault : undefined)
  expect((await rejectionOf(store.get('a'))).code).toBe('ERR_STILLFRAME_IO')
  expect((await rejectionOf(store.get('a', { range: [0, 80_000] }))).code).toBe('ERR_STILLFRAME_IO')
  expect(double.requests.length).toBe(1 + 2 * 6)
})

test.for([
  ['fewer', [40_000, 59_999]],
  ['more', [40_000, 60_001]],
  ['no', []],
])('%s bytes than were told are an error, whatever carries them', async ([, lengths]) => {
  await store.put('a', body)
  const client = double.client()
  // Like a user's own request handler that does not count bytes.
  client.middlewareStack.add(
    (next) => async (args) => {
      const answer = await next(args)
      const those = (lengths as number[]).map((length) => new Uint8Array(length))
      Object.assign(answer.output, { Body: Readable.from(those) })
      return answer
    },
    { step: 'initialize' },
  )
  const counting = s3({ client, bucket: 'bucket', prefix: 'some/where' })
  expect((await rejectionOf(counting.get('a'))).code).toBe('ERR_STILLFRAME_IO')
  expect((await rejectionOf(counting.get('a', { range: [0, 100_000] }))).code).toBe('ERR_STILLFRAME_IO')
})

test('an answer with another range is asked for again, and an error if it stays so', async () => {
  await store.put('a', body)
  failOnce(`GET ${at('a')}`, 'shifted')
  const { body: part } = await store.get('a', { range: [10, 20] })
  expect(digest(part)).toBe(digest(body.subarray(10, 20)))
  double.fault = () => 'shifted'
  const error = await rejectionOf(store.get('a', { range: [10, 20] }))
  expect(error.code).toBe('ERR_STILLFRAME_IO')
  expect(error.message).toContain('not bytes 10-19')
})

test('a server that knows no ranges is an error, and not the whole object', async () => {
  await store.put('a', body)
  double.fault = (_words, _count, { headers }) => {
    delete headers.range
    return undefined
  }
  expect((await rejectionOf(store.get('a', { range: [0, 10] }))).code).toBe('ERR_STILLFRAME_IO')
})

test('an abort ends a get whose answer does not come, with its reason', async () => {
  await store.put('a', body)
  const abort = new AbortController()
  double.fault = () => {
    setImmediate(() => abort.abort('enough'))
    return 'hanging'
  }
  await expect(store.get('a', { signal: abort.signal })).rejects.toBe('enough')
  expect(double.requests.length).toBe(2)
})

test('an abort ends the pause before the next try', async () => {
  const abort = new AbortController()
  double.fault = (_words, count) => {
    if (count === 3) setImmediate(() => abort.abort('enough'))
    return { status: 503, code: 'SlowDown' }
  }
  await expect(store.head('a', { signal: abort.signal })).rejects.toBe('enough')
  expect(double.requests.length).toBeLessThan(6)
})

const large = randomBytes(30 * MiB)
const stream = () => pieces(large, MiB)

test.for<[string, Fault]>([
  ['fails in passing', { status: 503, code: 'SlowDown' }],
  ['is dropped', 'dropped'],
  ['is done and not answered', 'lost'],
])('an upload of which each request %s once is whole', async ([, fault]) => {
  double.fault = (words, count) => (count === 0 && !words.startsWith('HEAD') ? fault : undefined)
  const { size, etag } = await store.upload('a', stream())
  expect(size).toBe(large.length)
  double.fault = () => undefined
  const got = await store.get('a')
  expect(digest(got.body)).toBe(digest(large))
  expect(got.etag).toBe(etag)
  // The answer to the beginning was lost, so the client does not know of that upload.
  expect(double.uploads.size).toBe(fault === 'lost' ? 1 : 0)
})

test('the object of another is not taken for that of an upload whose end fails', async () => {
  await store.put('a', bytes('theirs'))
  double.fault = (words) => (words === `POST ${at('a')}` ? { status: 404, code: 'NoSuchUpload' } : undefined)
  expect((await rejectionOf(store.upload('a', stream()))).code).toBe('ERR_STILLFRAME_IO')
  expect(text(await store.get('a'))).toBe('theirs')
  expect(double.uploads.size).toBe(0)
})

test.for(['PUT a?partNumber=1', 'PUT a?partNumber=3', 'PUT a?partNumber=4', 'POST a'])(
  'an upload of which "%s" is refused is aborted on the server',
  async (which) => {
    const refused = which.replace(' a', ` ${at('a')}`)
    double.fault = (words) => (words === refused ? { status: 403, code: 'AccessDenied' } : undefined)
    const error = await rejectionOf(store.upload('a', stream()))
    expect(error.code).toBe('ERR_STILLFRAME_IO')
    expect(error.message).toContain('AccessDenied')
    expect(double.uploads.size).toBe(0)
    expect(double.objects.size).toBe(0)
    expect(double.requests.filter((words) => words === `DELETE ${at('a')}`).length).toBe(1)
  },
)

test('a failed upload is aborted even if that takes several tries', async () => {
  double.fault = (words, count) => {
    if (words.startsWith('POST') && !words.includes('uploads')) return { status: 403, code: 'AccessDenied' }
    return words.startsWith('DELETE') && count < 3 ? { status: 503, code: 'SlowDown' } : undefined
  }
  expect((await rejectionOf(store.upload('a', stream()))).code).toBe('ERR_STILLFRAME_IO')
  expect(double.uploads.size).toBe(0)
})

test.for(['PUT a?partNumber=2', 'POST a', 'POST a?uploads='])(
  'an abort while "%s" waits for its answer leaves no upload',
  async (which) => {
    const abort = new AbortController()
    const waiting = which.replace(' a', ` ${at('a')}`)
    double.fault = (words) => {
      if (words !== waiting) return undefined
      setImmediate(() => abort.abort('enough'))
      // Answers late, if at all.
      return new Promise((resolve) => setTimeout(() => resolve(undefined), 100))
    }
    await expect(store.upload('a', stream(), { signal: abort.signal })).rejects.toBe('enough')
    await expect.poll(() => double.uploads.size).toBe(0)
    await expect.poll(() => double.requests.at(-1)).toBe(`DELETE ${at('a')}`)
  },
)

test('at most 12 parts of 8 MiB are in memory', async () => {
  const most = { parts: 0 }
  let sent = 0
  let streamed = 0
  double.fault = async (words) => {
    if (!words.includes('partNumber')) return undefined
    most.parts = Math.max(most.parts, Math.ceil(streamed / (8 * MiB)) - sent)
    await new Promise((resolve) => setTimeout(resolve, 20))
    sent++
    return undefined
  }
  const piece = randomBytes(MiB)
  const counting = async function* () {
    for (; streamed < 192 * MiB; streamed += MiB) yield piece
  }
  const { size } = await store.upload('a', counting())
  expect(size).toBe(192 * MiB)
  expect(most.parts).toBeGreaterThan(8)
  expect(most.parts).toBeLessThanOrEqual(12)
  expect(double.mostAtOnce).toBeLessThanOrEqual(12)
})
