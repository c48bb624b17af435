// Sends requests to a service from another process, and measures how long the answers take.
//
// The service's protocol: a request is four little-endian 32-bit integers (the operation, the
// place, and two for the value), an answer is two (the value). Answers come in the order of the
// requests.
import { once } from 'node:events'
import net from 'node:net'
import { build } from 'hdr-histogram-js'

const REQUEST_BYTES = 16
const ANSWER_BYTES = 8
export const READ = 0
export const WRITE = 1

// In microseconds. Longer waits count as this long.
const LONGEST_US = 600e6

/** Calls `use(bytes)` for each complete piece of `pieceBytes` bytes that arrives on a socket. */
const onPieces = (socket, pieceBytes, use) => {
  let rest = Buffer.alloc(0)
  socket.on('data', (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let at = 0
    for (; at + pieceBytes <= bytes.length; at += pieceBytes) use(bytes.subarray(at, at + pieceBytes))
    rest = bytes.subarray(at)
  })
}

/** Serves the 8-byte words of `words`, a Uint32Array, on a loopback port, which is returned. */
export const serveWords = async (words) => {
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy())
    onPieces(socket, REQUEST_BYTES, (request) => {
      const at = 2 * (request.readUInt32LE(4) % (words.length / 2))
      if (request.readUInt32LE(0) === WRITE) {
        words[at] = request.readUInt32LE(8)
        words[at + 1] = request.readUInt32LE(12)
      }
      const answer = Buffer.allocUnsafe(ANSWER_BYTES)
      answer.writeUInt32LE(words[at], 0)
      answer.writeUInt32LE(words[at + 1], 4)
      socket.write(answer)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server.address().port
}

/** The client: `ask(what, where)` resolves when the answer has arrived. */
export class WordClient {
  #socket
  #waiting = []

  static async connect(port) {
    const client = new WordClient()
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    socket.on('close', () => {
      for (const { reject } of client.#waiting.splice(0)) reject(new Error('the service has gone'))
    })
    socket.on('error', () => {})
    onPieces(socket, ANSWER_BYTES, () => client.#waiting.shift()?.resolve())
    client.#socket = socket
    return client
  }

  ask(what, where) {
    const request = Buffer.alloc(REQUEST_BYTES)
    request.writeUInt32LE(what, 0)
    request.writeUInt32LE(where, 4)
    request.writeUInt32LE(where, 8)
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
      this.#socket.write(request)
    })
  }

  close() {
    this.#socket.destroy()
  }
}

/** Time that is comparable between all processes of this machine, in ms. */
export const sharedNow = () => performance.timeOrigin + performance.now()

/**
 * Sends a request every millisecond, without waiting for earlier answers, alternately reading and
 * writing random places. `ask(what, where)` as above; `random` returns integers below its argument.
 *
 * @returns a function that stops it and resolves to `[[time of the request, ms until the answer],
 *   …]`.
 */
export const probe = (ask, random, places) => {
  const samples = []
  const pending = new Set()
  let failure
  let asked = 0
  const timer = setInterval(() => {
    const started = sharedNow()
    const answer = ask(asked++ % 2 === 0 ? READ : WRITE, random(places))
      .then(() => samples.push([started, sharedNow() - started]))
      .catch((error) => {
        failure ??= error
      })
      .finally(() => pending.delete(answer))
    pending.add(answer)
  }, 1)
  return async () => {
    clearInterval(timer)
    await Promise.all(pending)
    if (failure !== undefined) throw failure
    return samples
  }
}

/** Figures for latencies in ms, from an HdrHistogram in microseconds. */
export const latencyFigures = (latencies) => {
  const histogram = build({ highestTrackableValue: LONGEST_US, numberOfSignificantValueDigits: 3 })
  for (const ms of latencies) histogram.recordValue(Math.min(LONGEST_US, Math.max(1, Math.round(ms * 1000))))
  const at = (percentile) => histogram.getValueAtPercentile(percentile) / 1000
  return {
    count: histogram.totalCount,
    p50: at(50),
    p99: at(99),
    p999: at(99.9),
    max: histogram.maxValue / 1000,
  }
}
