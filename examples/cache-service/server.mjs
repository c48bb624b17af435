// An HTTP cache of a million JavaScript objects, which is warm again after a crash.
//
//   node examples/cache-service/server.mjs
//
//   curl -X PUT    localhost:8080/entries/apple -d '{"price": 1.5}'
//   curl           localhost:8080/entries/apple
//   curl -X DELETE localhost:8080/entries/apple
//   curl           localhost:8080/status
//
// While it answers, it captures a frame of the whole cache every few seconds, each as of one
// instant. However it ends, even by SIGKILL in the middle of a frame, it restarts from the last
// complete one. See README.md.

import { createServer } from 'node:http'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { openArchive } from 'stillframe/archive'
import { Cache } from './cache.mjs'

const {
  PORT = '8080',
  CACHE_ARCHIVE = 'cache.frames',
  CACHE_OBJECTS = '1000000', // size of a new cache; ignored if there is a frame
  CACHE_FRAME_SECONDS = '30',
} = process.env

const archive = await openArchive(CACHE_ARCHIVE, { retention: { last: 3 } })
const started = performance.now()
const loaded = await Cache.load(archive)
const loadMs = loaded && performance.now() - started
const cache = loaded ?? new Cache()
if (loaded === undefined) cache.fill(Number(CACHE_OBJECTS))

const state = (out) => cache.save(out)
let captured // the sequence number in the frame that is being captured
let last
const schedule = archive.schedule(
  () => {
    captured = cache.sequence
    return cache.regions
  },
  {
    everyMs: Number(CACHE_FRAME_SECONDS) * 1000,
    state,
    onFrame({ number, pauseMs, durationMs, stateSize }) {
      last = { number, sequence: captured, pauseMs, durationMs, stateSize }
    },
    // The service continues with the last complete frame; the next turn tries again.
    onError: (error) => console.error(`no frame: ${error.message}`),
  },
)

/**
 * Captures one last frame. A schedule retries after transient failures, such as a busy V8 thread;
 * here we must do it.
 */
async function captureLast() {
  const signal = AbortSignal.timeout(60_000)
  for (let tries = 1; ; tries++) {
    try {
      return await archive.capture(cache.regions, { state, signal }).done
    } catch (error) {
      if (tries === 5) throw error
      await sleep(100)
    }
  }
}

const largestBody = 2 ** 20

/** The whole body of a request, as JSON. */
async function bodyOf(request) {
  const chunks = []
  let length = 0
  for await (const chunk of request) {
    length += chunk.length
    if (length > largestBody) throw new RangeError(`a request may have ${largestBody} bytes`)
    chunks.push(chunk)
  }
  return JSON.parse(Buffer.concat(chunks))
}

async function answer(request) {
  const { pathname } = new URL(request.url, 'http://localhost')
  const key = /^\/entries\/([^/]+)$/.exec(pathname)?.[1]
  if (key !== undefined && request.method === 'GET') return cache.get(key)
  if (key !== undefined && request.method === 'PUT')
    return { sequence: cache.set(key, await bodyOf(request)) }
  if (key !== undefined && request.method === 'DELETE') {
    const sequence = cache.delete(key)
    return sequence && { sequence }
  }
  if (pathname === '/status' && request.method === 'GET') {
    const { sequence, size } = cache
    const { taken, failed, skipped, capturing } = schedule
    return { sequence, size, loadMs, frames: { taken, failed, skipped, capturing, last } }
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
  const from = loaded ? `loaded in ${loadMs.toFixed(0)} ms` : 'made up'
  console.log(`listening on port ${server.address().port} with ${cache.size} entries, ${from}`)
})

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, async () => {
    server.close()
    server.closeAllConnections()
    await schedule.stop({ withinMs: 20_000 })
    await captureLast()
    await archive.close()
    process.exit()
  })
}
