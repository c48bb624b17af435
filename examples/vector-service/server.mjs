// A search service over half a gigabyte of vectors, which is back in a second after a crash.
//
//   node examples/vector-service/server.mjs
//
//   curl -X PUT  localhost:8080/vectors/7 -d '[0.1, 0.2, ...]'         one vector, as JSON
//   curl -X PUT  localhost:8080/vectors/7 --data-binary @floats \
//        -H 'content-type: application/octet-stream'                   many, as raw 32-bit floats
//   curl         localhost:8080/vectors/7
//   curl -X POST localhost:8080/search -d '{"vector": [0.1, 0.2, ...], "count": 10}'
//   curl         localhost:8080/status
//
// While it answers, it captures a frame of all vectors every few seconds, each as of one instant; a
// frame contains what has changed since the previous one. However it ends, even by SIGKILL in the
// middle of a frame, it restarts from the last complete one. Writes after that frame are lost: a
// service that must not lose anything keeps a log of its writes, and replays those with a sequence
// number above the frame's.

import { createServer } from 'node:http'
import process from 'node:process'
import { openArchive } from 'stillframe/archive'
import { Table } from './table.mjs'

const {
  PORT = '8080',
  VECTOR_ARCHIVE = 'vectors.frames',
  VECTOR_MEGABYTES = '512', // ignored if there is a frame
  VECTOR_DIMENSIONS = '128',
  VECTOR_RESTORE_MODE = 'copy', // 'map': pages stay in files until written; writes are not recorded
  VECTOR_FRAME_SECONDS = '5',
} = process.env

const archive = await openArchive(VECTOR_ARCHIVE, { retention: { last: 3, hourly: 24, daily: 7 } })
const started = performance.now()
const restored = await Table.restore(archive, VECTOR_RESTORE_MODE)
const table = restored ?? Table.allocate(Number(VECTOR_MEGABYTES) * 2 ** 20, Number(VECTOR_DIMENSIONS))
const restoreMs = restored && performance.now() - started
const { regions, metadata } = table

let captured // the sequence number in the frame that is being captured
let last
const schedule = archive.schedule(
  () => {
    captured = table.sequence
    return regions
  },
  {
    everyMs: Number(VECTOR_FRAME_SECONDS) * 1000,
    metadata,
    onFrame({ id, number, kind, changedBytes, pauseMs, durationMs }) {
      last = { id, number, sequence: captured, kind, changedBytes, pauseMs, durationMs }
    },
    // The service continues with the last complete frame; the next turn tries again.
    onError: (error) => console.error(`no frame: ${error.message}`),
  },
)

const largestBody = 16 * 2 ** 20

/** The whole body of a request. */
async function bodyOf(request) {
  const chunks = []
  let length = 0
  for await (const chunk of request) {
    length += chunk.length
    if (length > largestBody) throw new RangeError(`a request may have ${largestBody} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function vectorsOf(request) {
  const body = await bodyOf(request)
  if (request.headers['content-type'] !== 'application/octet-stream') return JSON.parse(body)
  // A copy, since floats must be aligned to four bytes.
  return new Float32Array(body.buffer.slice(body.byteOffset, body.byteOffset + body.length))
}

async function answer(request) {
  const { pathname } = new URL(request.url, 'http://localhost')
  const slot = Number(/^\/vectors\/(\d+)$/.exec(pathname)?.[1] ?? -1)
  if (request.method === 'PUT' && slot >= 0) return { sequence: table.write(slot, await vectorsOf(request)) }
  if (request.method === 'GET' && slot >= 0) return table.read(slot)
  if (request.method === 'POST' && pathname === '/search') {
    const { vector, count = 10 } = JSON.parse(await bodyOf(request))
    return { found: await table.nearest(vector, count) }
  }
  if (request.method === 'GET' && pathname === '/status') {
    const { sequence, used, capacity, dimensions } = table
    const { taken, failed, skipped, capturing } = schedule
    const frames = { taken, failed, skipped, capturing, last }
    return { sequence, used, capacity, dimensions, restoreMs, frames }
  }
  return undefined
}

const server = createServer(async (request, response) => {
  let status = 200
  let content
  try {
    content = await answer(request)
    if (content === undefined) [status, content] = [404, { error: 'there is nothing here' }]
  } catch (error) {
    status = error instanceof RangeError || error instanceof SyntaxError ? 400 : 500
    content = { error: error.message }
  }
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(content))
})

server.listen(Number(PORT), '127.0.0.1', () => {
  const from = restored
    ? `${restored.sequence} writes, restored in ${restoreMs.toFixed(0)} ms`
    : 'an empty table'
  console.log(`listening on port ${server.address().port} with ${from}`)
})

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    server.close()
    server.closeAllConnections()
    await schedule.stop({ withinMs: 20_000 })
    // Captures the writes since the last frame.
    await archive.capture(regions, { metadata, signal: AbortSignal.timeout(60_000) }).done
    await archive.close()
    process.exit()
  })
}
