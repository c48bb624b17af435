// An HTTP cache of a million JavaScript objects, which is warm again after a crash.
//
//   node examples/cache-service/server.mjs
//
//   curl -X PUT    localhost:8080/entries/apple -d '{"price": 1.5}'
//   curl           localhost:8080/entries/apple
//   curl -X DELETE localhost:8080/entries/apple
//   curl           localhost:8080/status
//
// While it answers, it saves the whole cache every few seconds, each time as it is at one instant. However it ends,
// even by SIGKILL in the middle of a save, it starts again from the last complete one. See README.md.

import { createServer } from 'node:http'
import process from 'node:process'
import { Cache } from './cache.mjs'
import { Saves } from './saves.mjs'

const {
  PORT = '8080',
  CACHE_FILE = 'cache.values',
  CACHE_OBJECTS = '1000000', // what a new cache is filled with; ignored when there is a file
  CACHE_SAVE_SECONDS = '5',
} = process.env

const started = performance.now()
const loaded = await Cache.load(CACHE_FILE)
const loadMs = loaded && performance.now() - started
const cache = loaded ?? new Cache()
if (loaded === undefined) cache.fill(Number(CACHE_OBJECTS))
const saves = new Saves(cache, CACHE_FILE, Number(CACHE_SAVE_SECONDS) * 1000, loaded?.sequence ?? 0)

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
    const { completed, last, progress } = saves
    return { sequence, size, loadMs, saves: { completed, last, progress } }
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
    await saves.end()
    process.exit()
  })
}
