/**
 * A server on loopback that implements as much of S3 as `stillframe/s3` needs, and treats each
 * request as the test decides: it can return errors, and lose, truncate or mix up answers. Apart
 * from that it cannot be distinguished from a real server.
 */

import { createHash, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { S3Client } from '@aws-sdk/client-s3'

/** A request, written in tests as `'PUT a?partNumber=1'`. */
export interface DoubleRequest {
  readonly method: string
  readonly key: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
}

/**
 * A fault of one request. A status: returned instead of executing the request. `lost`: executed,
 * but the connection breaks before the answer. `dropped`: neither executed nor answered. `hanging`:
 * executed, and never answered. `cutAt`: only this many bytes of the body arrive. `shifted`: the
 * answer claims a range that begins one byte later. `silent`: the answer has no content length, and
 * its body lacks the last byte.
 */
export type Fault =
  | { readonly status: number; readonly code: string }
  | 'lost'
  | 'dropped'
  | 'hanging'
  | { readonly cutAt: number }
  | 'shifted'
  | 'silent'

interface Stored {
  readonly body: Buffer
  readonly etag: string
  readonly lastModified: Date
  readonly metadata: Record<string, string>
}

interface Upload {
  readonly key: string
  readonly metadata: Record<string, string>
  readonly parts: Map<number, Buffer>
}

export class S3Double {
  readonly objects = new Map<string, Stored>()
  /** Uploads that have been neither completed nor aborted. */
  readonly uploads = new Map<string, Upload>()
  /** All requests, as `'PUT a?partNumber=1'`, without `x-id` and the upload's id. */
  readonly requests: string[] = []
  /** Maximum number of requests that were being answered at the same time. */
  mostAtOnce = 0
  /**
   * Chooses the fault of a request; undefined for none. `count` is the number of earlier requests
   * with the same words.
   */
  fault: (words: string, count: number, request: DoubleRequest) => Fault | undefined | Promise<undefined> =
    () => undefined
  readonly #server: Server
  readonly #clients: S3Client[] = []
  #now = 0

  private constructor(server: Server) {
    this.#server = server
  }

  static async start(): Promise<S3Double> {
    const server = createServer()
    const double = new S3Double(server)
    server.on('request', (request, response) => {
      void double.#serve(request, response).catch((error: unknown) => response.destroy(error as Error))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return double
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.destroy()
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  /** A client that by default does not retry. */
  client(maxAttempts = 1): S3Client {
    const { port } = this.#server.address() as AddressInfo
    const client = new S3Client({
      endpoint: `http://127.0.0.1:${port}`,
      region: 'us-east-1',
      credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
      forcePathStyle: true,
      maxAttempts,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
    })
    this.#clients.push(client)
    return client
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? '', 'http://localhost')
    const query = url.searchParams
    query.delete('x-id')
    const id = query.get('uploadId')
    query.delete('uploadId')
    const key = decodeURIComponent(url.pathname).split('/').slice(2).join('/')
    const words = `${incoming.method} ${key}${query.size === 0 ? '' : `?${query}`}`
    const count = this.requests.filter((other) => other === words).length
    this.requests.push(words)
    this.#now++
    this.mostAtOnce = Math.max(this.mostAtOnce, this.#now)
    response.once('close', () => this.#now--)

    const received: Buffer[] = []
    for await (const chunk of incoming) received.push(chunk as Buffer)
    const request = { method: incoming.method ?? '', key, query, headers: incoming.headers }
    const fault = await this.fault(words, count, request)
    if (fault === 'dropped') return void incoming.socket.destroy()
    if (typeof fault === 'object' && 'status' in fault) return fail(response, fault.status, fault.code)
    const answer = this.#do(request, id, Buffer.concat(received))
    if (fault === 'lost') return void incoming.socket.destroy()
    if (fault === 'hanging') return
    if (answer.code !== undefined) return fail(response, answer.status, answer.code)
    send(response, answer, fault)
  }

  #do(request: DoubleRequest, id: string | null, body: Buffer): Answer {
    const { method, key, query, headers } = request
    if (query.has('uploads') && method === 'POST') return this.#begin(key, headers)
    if (id !== null) {
      const upload = this.uploads.get(id)
      if (upload === undefined) return refused(404, 'NoSuchUpload')
      if (method === 'PUT') {
        upload.parts.set(Number(query.get('partNumber')), body)
        return { status: 200, headers: { etag: `"${md5(body)}"` } }
      }
      this.uploads.delete(id)
      if (method === 'DELETE') return { status: 204 }
      const whole = Buffer.concat([...upload.parts].sort(([a], [b]) => a - b).map(([, part]) => part))
      const etag = this.#store(key, whole, upload.metadata)
      return {
        status: 200,
        body: xml(`<CompleteMultipartUploadResult><ETag>"${etag}"</ETag></CompleteMultipartUploadResult>`),
      }
    }
    const there = this.objects.get(key)
    if (method === 'PUT') {
      const { 'if-none-match': none, 'if-match': match } = headers
      if (none === '*' && there !== undefined) return refused(412, 'PreconditionFailed')
      if (match !== undefined && match !== there?.etag) return refused(412, 'PreconditionFailed')
      return { status: 200, headers: { etag: `"${this.#store(key, body, {})}"` } }
    }
    if (method === 'DELETE') {
      this.objects.delete(key)
      return { status: 204 }
    }
    if (there === undefined) return refused(404, 'NoSuchKey')
    return found(there, headers.range)
  }

  #begin(key: string, headers: IncomingMessage['headers']): Answer {
    const id = randomUUID()
    const metadata = Object.fromEntries(
      Object.entries(headers).filter(([name]) => name.startsWith('x-amz-meta-')),
    ) as Record<string, string>
    this.uploads.set(id, { key, metadata, parts: new Map() })
    return {
      status: 200,
      body: xml(`<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`),
    }
  }

  #store(key: string, body: Buffer, metadata: Record<string, string>): string {
    const etag = md5(body)
    this.objects.set(key, { body, etag, lastModified: new Date(), metadata })
    return etag
  }
}

interface Answer {
  readonly status: number
  readonly code?: string
  readonly headers?: Record<string, string>
  readonly body?: Buffer
}

function found({ body, etag, lastModified, metadata }: Stored, range: string | undefined): Answer {
  const headers = { etag: `"${etag}"`, 'last-modified': lastModified.toUTCString(), ...metadata }
  if (range === undefined) return { status: 200, headers, body }
  const [, from = '', to = ''] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? []
  const last = Math.min(Number(to), body.length - 1)
  if (Number(from) > last) return refused(416, 'InvalidRange')
  return {
    status: 206,
    headers: { ...headers, 'content-range': `bytes ${from}-${last}/${body.length}` },
    body: body.subarray(Number(from), last + 1),
  }
}

function send(
  response: ServerResponse,
  { status, headers = {}, body = Buffer.alloc(0) }: Answer,
  fault: Fault | undefined,
): void {
  if (fault === 'silent') {
    response.writeHead(status, headers)
    response.end(body.subarray(0, -1))
    return
  }
  const told = fault === 'shifted' ? shifted(headers) : headers
  response.writeHead(status, { ...told, 'content-length': body.length })
  if (typeof fault === 'object' && 'cutAt' in fault) {
    response.write(body.subarray(0, fault.cutAt), () => response.destroy())
    return
  }
  response.end(body)
}

/** Headers as from a cache that has mixed up two requests. */
function shifted(headers: Record<string, string>): Record<string, string> {
  const [, from, to, size] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers['content-range'] ?? '') ?? []
  return { ...headers, 'content-range': `bytes ${Number(from) + 1}-${Number(to) + 1}/${size}` }
}

function fail(response: ServerResponse, status: number, code: string): void {
  const body = xml(`<Error><Code>${code}</Code><Message>as the test wants it</Message></Error>`)
  response.writeHead(status, { 'content-type': 'application/xml', 'content-length': body.length })
  response.end(response.req.method === 'HEAD' ? undefined : body)
}

function refused(status: number, code: string): Answer {
  return { status, code }
}

function xml(content: string): Buffer {
  return Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>${content}`)
}

function md5(body: Buffer): string {
  return createHash('md5').update(body).digest('hex')
}
