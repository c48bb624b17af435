// How long does a service stop for a heap snapshot, or for saving its JavaScript state?
//
// Compares, on identically made heaps, stillframe/heap, which leaves the work to a forked copy, and
// Node's own methods, which do the work in the service. Then the same as seen by a client: requests
// over a loopback socket while a heap snapshot is being written. All in turns, each in its own
// process.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import v8 from 'node:v8'
import { snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import { runIfMain } from './support/alone.mjs'
import { MIB } from './support/pages.mjs'
import { randomIntegers } from './support/random.mjs'
import { availableMemory, whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, ratio, size } from './support/table.mjs'

const LOOK_EVERY_MS = 20
const REQUEST_EVERY_MS = 2

/**
 * A cache like those of services: a Map of small objects with texts, about `bytes` bytes of heap.
 */
export const makeHeap = (bytes, seed) => {
  const random = randomIntegers(seed)
  const cache = new Map()
  const before = process.memoryUsage().heapUsed
  for (let i = 0; ; i++) {
    const id = random(2 ** 32).toString(36)
    cache.set(`user:${i}:${id}`, {
      id: i,
      name: `name ${id}`,
      tags: [id, 'a', 'b'],
      at: random(),
      seen: { n: i },
    })
    if (i % 10_000 === 0 && process.memoryUsage().heapUsed - before > bytes) return cache
  }
}

/**
 * Each method writes a file, and returns how long the service stopped and how long it took in
 * total.
 */
const ways = {
  'writeHeapSnapshot, forked': {
    kind: 'heap snapshot',
    async run(_cache, path) {
      // V8 builds the whole snapshot in memory: ten times the heap and more.
      const job = writeHeapSnapshot(path, { memoryLimit: Math.floor(0.8 * availableMemory()) })
      const { pause, durationMs, copiedBytesPeak, attempts } = await job.done
      return { pauseMs: job.pauseMs, pause, durationMs, childBytes: copiedBytesPeak, attempts }
    },
  },
  'v8.writeHeapSnapshot': {
    kind: 'heap snapshot',
    async run(_cache, path) {
      const started = performance.now()
      v8.writeHeapSnapshot(path)
      const pauseMs = performance.now() - started
      return { pauseMs, durationMs: pauseMs, childBytes: 0, attempts: 1 }
    },
  },
  'snapshotState, forked': {
    kind: 'state',
    async run(cache, path) {
      const job = snapshotState(path, (out) => {
        let batch = []
        for (const entry of cache) {
          batch.push(entry)
          if (batch.length < 10_000) continue
          out.value(batch)
          batch = []
        }
        out.value(batch)
      })
      const { pause, durationMs, copiedBytesPeak, attempts } = await job.done
      return { pauseMs: job.pauseMs, pause, durationMs, childBytes: copiedBytesPeak, attempts }
    },
  },
  'v8.serialize, then write': {
    kind: 'state',
    async run(cache, path) {
      const started = performance.now()
      writeFileSync(path, v8.serialize(cache))
      const pauseMs = performance.now() - started
      return { pauseMs, durationMs: pauseMs, childBytes: 0, attempts: 1 }
    },
  },
}

export const scenarios = {
  async one({ way, heapBytes, seed, directory }, tell) {
    const cache = makeHeap(heapBytes, seed)
    await sleep(200) // lets garbage be collected, and V8's workers become idle
    const { heapUsed } = process.memoryUsage()
    tell('ready')
    await sleep(10 * LOOK_EVERY_MS)
    tell('begin')
    const result = await ways[way].run(cache, `${directory}/heap`)
    tell('end')
    return { ...result, heapUsed, entries: cache.size }
  },
}

/** Watches the resident memory of a process from outside. */
class ResidentWatcher {
  peakBytes = 0
  #restingBytes = 0
  #begun = false
  #timer

  onTold(message, pid) {
    if (message === 'ready') this.#timer = setInterval(() => this.#look(pid), LOOK_EVERY_MS)
    if (message === 'begin') this.#begun = true
    if (message === 'end') this.stop()
  }

  stop() {
    clearInterval(this.#timer)
  }

  #look(pid) {
    let resident
    try {
      resident = Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * 4096
    } catch {
      return // has just ended
    }
    if (this.#begun) this.peakBytes = Math.max(this.peakBytes, resident - this.#restingBytes)
    else this.#restingBytes = resident
  }
}

const measureWays = async ({ heaps, rounds, largestInProcess }, { seed, directory, note, skipped }) => {
  const rows = []
  for (const heapBytes of heaps) {
    for (const [way, { kind }] of Object.entries(ways)) {
      const what = `${way}, heap of ${size(heapBytes)}`
      if (way.startsWith('v8.write') && heapBytes > largestInProcess) {
        skipped.push({ what, reason: 'it would stand still for minutes' })
        continue
      }
      const reason = whyNoRoom(directory, { memory: 12 * heapBytes, disk: 2 * heapBytes })
      if (reason !== undefined) {
        skipped.push({ what, reason })
        continue
      }
      const runs = []
      for (let round = 0; round < rounds[kind]; round++) {
        note(`heap: ${what}, round ${round + 1} of ${rounds[kind]}`)
        const watcher = new ResidentWatcher()
        const options = { way, heapBytes, seed, directory }
        const run = await tryScenario(skipped, what, import.meta.url, 'one', options, {
          onTold: (message, pid) => watcher.onTold(message, pid),
          timeoutMs: 900_000,
        })
        watcher.stop()
        if (run !== undefined) runs.push({ ...run, serviceBytes: watcher.peakBytes })
      }
      if (runs.length > 0) rows.push({ way, kind, heapBytes, runs })
    }
  }
  return rows
}

/** The service of the latency test, in its own process. */
const serve = async ({ way, heapBytes, seed, directory }) => {
  const cache = makeHeap(heapBytes, seed)
  const keys = [...cache.keys()]
  const server = http.createServer((request, response) => {
    const key = keys[Number(request.url.slice(1)) % keys.length]
    response.end(JSON.stringify(cache.get(key)))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  process.send({ port: server.address().port })
  process.on('message', async () => {
    const result =
      way === 'idle' ? await sleep(3000).then(() => ({})) : await ways[way].run(cache, `${directory}/heap`)
    process.send({ ended: result })
  })
}

/**
 * Sends a request every two milliseconds, without waiting for the previous answer. Returns
 * latencies in milliseconds.
 */
const askAround = async (port, until) => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 })
  const latencies = []
  const pending = []
  const started = performance.now()
  for (let n = 0; !until.done; n++) {
    const due = started + n * REQUEST_EVERY_MS
    const wait = due - performance.now()
    if (wait > 0) await sleep(wait)
    // A timer may fire slightly early.
    const asked = Math.min(due, performance.now())
    pending.push(
      new Promise((resolve, reject) => {
        http
          .get({ host: '127.0.0.1', port, path: `/${n}`, agent }, (response) => {
            response.resume()
            response.once('end', () => {
              latencies.push(performance.now() - asked)
              resolve()
            })
          })
          .once('error', reject)
      }),
    )
  }
  await Promise.all(pending)
  agent.destroy()
  return latencies
}

const measureRequests = async ({ requestHeap }, { seed, directory, note }) => {
  const rows = []
  for (const way of ['idle', 'writeHeapSnapshot, forked', 'v8.writeHeapSnapshot']) {
    note(`heap: requests, ${way}`)
    const options = JSON.stringify({ way, heapBytes: requestHeap, seed, directory })
    const child = fork(fileURLToPath(import.meta.url), ['--serve', options])
    try {
      const [{ port }] = await once(child, 'message')
      // Warms up, since the first requests compile code.
      const warm = { done: false }
      setTimeout(() => {
        warm.done = true
      }, 1000)
      await askAround(port, warm)
      const until = { done: false }
      child.send('begin')
      const ended = once(child, 'message').then(([{ ended: result }]) => {
        until.done = true
        return result
      })
      const latencies = await askAround(port, until)
      rows.push({ way, latencies, ...(await ended) })
    } finally {
      child.kill('SIGKILL')
    }
  }
  return rows
}

const measure = async (settings, context) => ({
  ways: await measureWays(settings, context),
  requests: await measureRequests(settings, context),
})

const least = (runs, key) => Math.min(...runs.map((run) => run[key]))

const waysTable = (rows) => ({
  title: 'Standing still for the JavaScript heap',
  columns: [
    'heap MB',
    'way',
    'pause ms',
    'ms per GB',
    'in process to it',
    'duration s',
    'service MiB more',
    'copy MiB',
    'attempts',
  ],
  rows: rows.map(({ way, kind, heapBytes, runs }) => {
    const own = least(runs, 'pauseMs')
    const other = rows.find(
      (row) => row.kind === kind && row.heapBytes === heapBytes && row.way.startsWith('v8.'),
    )
    const heap = runs[0].heapUsed
    return [
      number(heap / 1e6),
      way,
      number(own),
      number(own / (heap / 1e9)),
      other === undefined || way.startsWith('v8.') ? '-' : ratio(least(other.runs, 'pauseMs'), own),
      number(least(runs, 'durationMs') / 1000),
      number(Math.max(...runs.map(({ serviceBytes }) => serviceBytes)) / MIB),
      number(Math.max(...runs.map(({ childBytes }) => childBytes)) / MIB),
      String(Math.max(...runs.map(({ attempts }) => attempts))),
    ]
  }),
  note:
    'Pause and duration: the least of the rounds; memory: the most. "service MiB more": resident memory of the service ' +
    'above what it was at rest, seen from outside; "copy MiB": what only the forked copy had.',
})

const partsTable = (rows) => ({
  title: 'Where the pause of the forked ways goes, in ms',
  columns: ['heap MB', 'way', 'park', 'mappings', 'flip', 'fork', 'restore', 'rest of the call', 'pause'],
  rows: rows
    .filter(({ runs }) => runs[0].pause !== undefined)
    .map(({ way, runs }) => {
      const { pause, pauseMs, heapUsed } = runs.reduce((best, run) =>
        run.pauseMs < best.pauseMs ? run : best,
      )
      const parts = [pause.parkMs, pause.mappingsMs, pause.flipMs, pause.forkMs, pause.restoreMs]
      const rest = pauseMs - parts.reduce((sum, part) => sum + part)
      return [number(heapUsed / 1e6), way, ...parts.map(number), number(rest), number(pauseMs)]
    }),
  note: 'Of the round with the least pause.',
})

const requestsTable = (rows, { requestHeap }) => ({
  title: `Latency of requests meanwhile, in ms; heap of ${size(requestHeap)}`,
  columns: ['meanwhile', 'requests', 'p50', 'p99', 'p99.9', 'max', 'max to idle'],
  rows: rows.map(({ way, latencies }) => {
    const { count, p50, p99, p999, max } = summary(latencies)
    return [
      way,
      String(count),
      number(p50),
      number(p99),
      number(p999),
      number(max),
      ratio(max, summary(rows[0].latencies).max),
    ]
  }),
  note: `A request every ${REQUEST_EVERY_MS} ms over loopback, whether or not the one before has been answered; latency counts from when it was due.`,
})

export const bench = {
  name: 'heap',
  title: 'Heap snapshots and JavaScript state',
  about:
    'stillframe/heap beside v8.writeHeapSnapshot and v8.serialize: pause, memory, and requests meanwhile.',
  settings: {
    full: {
      heaps: [50 * MIB, 200 * MIB, 1000 * MIB],
      rounds: { 'heap snapshot': 1, state: 5 },
      largestInProcess: 1000 * MIB,
      requestHeap: 50 * MIB,
    },
    quick: {
      heaps: [50 * MIB],
      rounds: { 'heap snapshot': 1, state: 1 },
      largestInProcess: 50 * MIB,
      requestHeap: 20 * MIB,
    },
  },
  measure,
  tables: ({ rows, settings }) => [
    ...(rows.ways.length === 0 ? [] : [waysTable(rows.ways), partsTable(rows.ways)]),
    ...(rows.requests.length === 0 ? [] : [requestsTable(rows.requests, settings)]),
  ],
  plots: ({ rows }) =>
    rows.ways.length === 0
      ? []
      : [
          {
            file: 'heap-pause',
            title: 'How long the service stands still',
            subtitle: 'Map of small objects; in process beside a forked copy',
            x: { title: 'heap, MB' },
            y: { title: 'pause, ms', log: true },
            series: Object.keys(ways).map((way) => ({
              name: way,
              points: rows.ways
                .filter((row) => row.way === way)
                .map(({ runs }) => [runs[0].heapUsed / 1e6, least(runs, 'pauseMs')]),
            })),
          },
        ],
}

if (process.argv[2] === '--serve') await serve(JSON.parse(process.argv[3]))
else await runIfMain(import.meta.url, bench)
