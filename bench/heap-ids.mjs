// What does a service pay for ids that stay the same across heap snapshots (`stableIds`)?
//
// The same process with and without them: how long it stops, the first time and later; how much its
// own memory grows; and how much slower allocation-heavy code becomes once V8 keeps its table of
// all objects.
import { setTimeout as sleep } from 'node:timers/promises'
import v8 from 'node:v8'
import vm from 'node:vm'
import { writeHeapSnapshot } from 'stillframe/heap'
import { makeHeap } from './heap.mjs'
import { runIfMain } from './support/alone.mjs'
import { MIB } from './support/pages.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { number, ratio } from './support/table.mjs'

const LATER = 3
const REPLACED = 2_000_000

v8.setFlagsFromString('--expose-gc')
const collectGarbage = vm.runInNewContext('gc')

/**
 * Replaces entries of the cache one by one. Returns the processor time of all threads in
 * milliseconds.
 */
const allocate = (cache, keys) => {
  const before = process.cpuUsage()
  for (let i = 0; i < REPLACED; i++) {
    const id = keys[i % keys.length]
    cache.set(id, { id: i, name: `name ${i}`, tags: [id, 'a', 'b'], at: i, seen: { n: i } })
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** The service has paid the whole cost once the copy exists, so the copy's work is not awaited. */
const standStill = async (path, stableIds) => {
  const job = writeHeapSnapshot(path, { stableIds })
  while (job.frozenAt === undefined) await sleep(10)
  job.abort()
  await job.done.catch(() => {})
  return job.pauseMs
}

export const scenarios = {
  async one({ stableIds, heapBytes, seed, directory }) {
    const cache = makeHeap(heapBytes, seed)
    const keys = [...cache.keys()]
    allocate(cache, keys) // compiles it
    collectGarbage()
    const pausesMs = []
    const { heapUsed, rss } = process.memoryUsage()
    let ownBytes = 0
    for (let time = 0; time <= LATER; time++) {
      pausesMs.push(await standStill(`${directory}/heap`, stableIds))
      ownBytes = Math.max(ownBytes, process.memoryUsage().rss - rss)
    }
    return {
      heapUsed,
      pausesMs,
      ownBytes,
      allocateMs: allocate(cache, keys),
    }
  },
}

const measure = async ({ heaps }, { seed, directory, note, skipped }) => {
  const rows = []
  for (const heapBytes of heaps) {
    for (const stableIds of [false, true]) {
      const what = `heap of ${heapBytes / MIB} MiB, ${stableIds ? 'stableIds' : 'default'}`
      const reason = whyNoRoom(directory, { memory: 4 * heapBytes })
      if (reason !== undefined) {
        skipped.push({ what, reason })
        continue
      }
      note(`heap-ids: ${what}`)
      const options = { stableIds, heapBytes, seed, directory }
      const run = await tryScenario(skipped, what, import.meta.url, 'one', options)
      if (run !== undefined) rows.push({ heapBytes, stableIds, ...run })
    }
  }
  return rows
}

export const bench = {
  name: 'heap-ids',
  title: 'Ids that last from heap snapshot to heap snapshot',
  about:
    'writeHeapSnapshot() with and without stableIds: pause, memory of the service, and code that allocates.',
  settings: { full: { heaps: [64 * MIB, 200 * MIB] }, quick: { heaps: [20 * MIB] } },
  measure,
  tables: ({ rows }) => [
    {
      title: 'What stableIds costs the service',
      columns: [
        'heap MB',
        'ids',
        'first pause ms',
        'later pauses ms',
        'service MiB more',
        'allocating ms',
        'to default',
      ],
      rows: rows.map(
        ({ heapBytes, stableIds, heapUsed, pausesMs: [first, ...later], ownBytes, allocateMs }) => {
          const plain = rows.find((row) => row.heapBytes === heapBytes && !row.stableIds)
          return [
            number(heapUsed / 1e6),
            stableIds ? 'stableIds' : 'default',
            number(first),
            `${number(Math.min(...later))} to ${number(Math.max(...later))}`,
            number(ownBytes / MIB),
            number(allocateMs),
            stableIds && plain !== undefined ? ratio(allocateMs, plain.allocateMs) : '-',
          ]
        },
      ),
      note:
        `Later: ${LATER} more. "service MiB more": resident memory after a snapshot above what it was at rest before the first. ` +
        `"allocating": processor time of replacing ${REPLACED} entries after the snapshots.`,
    },
  ],
  plots: () => [],
}

await runIfMain(import.meta.url, bench)
