// Requests to a service from another process, and how long their answers take.
//
// The protocol of the service: a request has four little-endian 32-bit integers (what to do, where, and two that
// are the value), an answer has two (the value). Answers come in the order of the requests.
import { once } from 'node:events'
import net from 'node:net'
import { build } from 'hdr-histogram-js'

const REQUEST_BYTES = 16
const ANSWER_BYTES = 8
export const READ = 0
export const WRITE = 1

// In microseconds: a request that has waited for longer than this counts as if it had waited this long.
const LONGEST_US = 600e6

/** Calls `use(bytes)` for each whole piece of so many bytes that a socket brings. */
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

/** The other end: `ask(what, where)` resolves when the answer has come. */
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

/** Time that means the same in all processes of this machine, in ms. */
export const sharedNow = () => performance.timeOrigin + performance.now()

/**
 * Asks once a millisecond, whether or not the answers before have come: reads and writes of random places in turns.
 * `ask(what, where)` as above; `random` gives integers below its argument.
 *
 * @returns a function that stops it and resolves to `[[when asked, ms until the answer], …]`.
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

/** What is said of latencies in ms, by an HdrHistogram of microseconds. */
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
