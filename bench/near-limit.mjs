// What remains of a service that runs out of heap? With watchMemory(), with Node's own
// --heapsnapshot-near-heap-limit=1, and with neither, on the same leak.
//
// Measures how long the service stopped before its end, how much memory all of its processes used
// meanwhile, how many runs left a readable heap snapshot in which the leak is the largest class,
// and how the service ended.
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { runIfMain } from './support/alone.mjs'
import { MIB } from './support/pages.mjs'
import { whyNoRoom } from './support/room.mjs'
import { number } from './support/table.mjs'

const service = fileURLToPath(new URL('./support/leaking-service.mjs', import.meta.url))
const cli = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
/** Maximum ratio of the size of a heap snapshot to its heap, for a heap of small objects. */
const FACTOR = 33

const ways = ['neither', 'watchMemory()', '--heapsnapshot-near-heap-limit=1']
const LONGEST_MS = 900_000

/** Bytes that only these processes map; processes that have ended count as 0. */
const ownBytes = (pids) => {
  let sum = 0
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
      for (const [, kib] of text.matchAll(/^Private_(?:Clean|Dirty): +(\d+) kB/gm)) sum += Number(kib) * 1024
    } catch {}
  }
  return sum
}

/** True if the file is readable and the leak is the largest of the program's classes. */
const isUsable = (file) => {
  const { status, stdout } = spawnSync(
    process.execPath,
    [cli, 'heap', 'summary', file, '--json', '--shallow'],
    {
      encoding: 'utf8',
      maxBuffer: 64 * MIB,
    },
  )
  if (status !== 0) return false
  const ofProgram = JSON.parse(stdout).classes.filter(({ name }) => !name.startsWith('('))
  ofProgram.sort((a, b) => b.shallowBytes - a.shallowBytes)
  return ofProgram[0]?.name === 'PlantedLeak'
}

const die = async (way, heapMiB, directory) => {
  const out = mkdtempSync(join(directory, 'dying-'))
  const options = [`--max-old-space-size=${heapMiB}`]
  if (way === ways[2]) options.push(way)
  const child = spawn(process.execPath, [...options, service, ...(way === ways[1] ? [out] : [])], {
    cwd: out,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let longestMs = 0
  let last = performance.now()
  let stderr = ''
  child.stdout.on('data', () => {
    const now = performance.now()
    longestMs = Math.max(longestMs, now - last)
    last = now
  })
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const started = performance.now()
  let ended
  child.once('exit', (status, signal) => {
    ended = signal ?? `status ${status}`
    longestMs = Math.max(longestMs, performance.now() - last)
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), LONGEST_MS)
  let peak = 0
  const copy = () => Number(/process (\d+) writes a heap snapshot/.exec(stderr)?.[1] ?? 0)
  const copyRuns = () => {
    try {
      return copy() !== 0 && readFileSync(`/proc/${copy()}/stat`, 'utf8').split(') ')[1]?.[0] !== 'Z'
    } catch {
      return false
    }
  }
  while (ended === undefined || copyRuns()) {
    peak = Math.max(peak, ownBytes([child.pid, copy()].filter(Boolean)))
    await sleep(50)
  }
  clearTimeout(timer)
  const durationMs = performance.now() - started
  const files = readdirSync(out).filter((name) => name.endsWith('.heapsnapshot'))
  const usable = files.some((name) => isUsable(join(out, name)))
  rmSync(out, { recursive: true, force: true })
  return { way, heapMiB, ended, longestMs, peak, durationMs, usable }
}

const measure = async ({ heaps, runs }, { directory, note, skipped }) => {
  const rows = []
  mkdirSync(directory, { recursive: true })
  for (const heapMiB of heaps) {
    const reason = whyNoRoom(directory, { memory: FACTOR * heapMiB * MIB, disk: 8 * heapMiB * MIB })
    if (reason !== undefined) {
      skipped.push({ what: `heap of ${heapMiB} MiB`, reason })
      continue
    }
    // In turns, so that other activity on the machine affects all of them.
    for (let run = 1; run <= runs; run++) {
      for (const way of ways) {
        note(`near-limit: heap of ${heapMiB} MiB, ${way}, run ${run} of ${runs}`)
        rows.push(await die(way, heapMiB, directory))
      }
    }
  }
  return rows
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]

export const bench = {
  name: 'near-limit',
  title: 'A service that dies for want of heap',
  about: 'What watchMemory() and --heapsnapshot-near-heap-limit leave of the same leak, and what they take.',
  settings: { full: { heaps: [64, 128, 256], runs: 3 }, quick: { heaps: [32], runs: 1 } },
  measure,
  tables: ({ rows }) => {
    const groups = [...new Set(rows.map(({ heapMiB }) => heapMiB))].flatMap((heapMiB) =>
      ways.map((way) => rows.filter((row) => row.heapMiB === heapMiB && row.way === way)),
    )
    return [
      {
        title: 'What is left of a dying service',
        columns: [
          'heap MiB',
          'way',
          'runs',
          'usable files',
          'stood still ms',
          'peak memory MiB',
          'file after s',
          'ended by',
        ],
        rows: groups.map((group) => [
          String(group[0].heapMiB),
          group[0].way,
          String(group.length),
          String(group.filter(({ usable }) => usable).length),
          number(median(group.map(({ longestMs }) => longestMs))),
          number(median(group.map(({ peak }) => peak)) / MIB),
          number(median(group.map(({ durationMs }) => durationMs)) / 1000),
          [...new Set(group.map(({ ended }) => ended))].join(', '),
        ]),
        note:
          '"stood still": the longest time in which the service did not get to run, before its end included; "peak memory": of the service ' +
          'and its copy together, what nobody else maps; "usable": it can be read, and the leak is the largest class of the program. ' +
          'Medians.',
      },
    ]
  },
  plots: () => [],
}

await runIfMain(import.meta.url, bench)
