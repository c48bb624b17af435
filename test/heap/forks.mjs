// Promise: forks end well, whatever V8, libuv and other threads are doing at that moment. Proved by
// many forks under all loads at once, each with a check that the file is complete and shows the
// instant of its call. Not part of `npm test`, which does only a few of them:
//
//   node test/heap/forks.mjs --count 500
//   node test/heap/forks.mjs --kinds json,values --loads jit,wasm,workers --seed 7
//
//   --count N              total number of forks, in the main thread and worker threads (100)
//   --kinds LIST           json, values, heap: in this order, again and again
//   --loads LIST           young, old, large, jit, wasm, pool, timers, workers; none
//   --seed N               seed of the loads; the moments of forks always differ
//   --stall-timeout-ms N   time after which a copy counts as hung (5000)
//   --json                 one line of JSON instead of the table
//
// The library retries a fork that hangs or dies. This script retries one that found V8's threads
// busy. Both are counted. Exit status 0: in the end, all forks ended well.

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { seededRandom, testSeed } from '../support/random.mjs'
import { CheckedState, sharedCounters } from './checked-fork.mjs'
import { startChurn, loads as threadLoads } from './churn.mjs'

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '100' },
    kinds: { type: 'string', default: 'json,values,json,values,json,values,heap' },
    loads: { type: 'string', default: [...threadLoads, 'workers'].join() },
    seed: { type: 'string', default: String(testSeed) },
    'stall-timeout-ms': { type: 'string', default: '5000' },
    json: { type: 'boolean', default: false },
  },
})
const count = Number(values.count)
const seed = Number(values.seed)
const kinds = values.kinds.split(',')
const loads = values.loads.split(',')
const workerCount = loads.includes('workers') ? 2 : 0
const options = { stallTimeoutMs: Number(values['stall-timeout-ms']), nice: 0, durable: false }
/** A fork that finds the threads busy more often than this has failed. */
const maxBusy = 5

const directory = mkdtempSync(path.join(tmpdir(), 'stillframe-forks-'))
/** @typedef {Awaited<ReturnType<CheckedState['fork']>>} Checked */
const total = {
  endedWell: 0,
  fromWorkers: 0,
  retried: 0,
  busy: 0,
  /** @type {object[]} */
  failed: [],
  /** @type {Record<string, number>} outcomes of attempts that were followed by another attempt */
  died: {},
  /** @type {Record<string, number>} kinds of garbage collections in the copies */
  gcs: {},
}
/** @type {Record<string, number[]>} */
const pauses = { pauseMs: [], busyMs: [] }

/** @param {Checked} checked */
function countWell({ kind, attempts, died, gcs, pause, pauseMs, durationMs }) {
  total.endedWell++
  if (attempts > 1) total.retried++
  for (const why of died) total.died[why] = (total.died[why] ?? 0) + 1
  for (const type of gcs) total.gcs[type] = (total.gcs[type] ?? 0) + 1
  for (const [name, ms] of Object.entries({ pauseMs, ...pause, [`${kind} durationMs`]: durationMs })) {
    pauses[name] ??= []
    pauses[name].push(ms)
  }
}

/** @param {{ kind: unknown, code?: string, message: string, where: string }} failed */
function countFailed(failed) {
  total.failed.push(failed)
  console.error('FAILED', failed)
}

const counters = sharedCounters(1 + workerCount)
const workers = Array.from({ length: workerCount }, (_, i) => {
  const workerData = { loads, seed: seed + i + 1, counters, thread: i + 1, directory, options, kinds }
  const worker = new Worker(new URL('churn-worker.mjs', import.meta.url), {
    workerData: { ...workerData, pauseBetweenForksMs: 2000 },
  })
  worker.on('message', ({ fork, failed }) => {
    if (fork !== undefined) {
      countWell(fork)
      total.fromWorkers++
    }
    if (failed?.code === 'ERR_STILLFRAME_BUSY') total.busy++
    else if (failed !== undefined) countFailed(failed)
  })
  worker.on('error', (error) => countFailed({ kind: 'worker', message: String(error), where: `worker ${i}` }))
  return { worker, ended: new Promise((resolve) => worker.once('exit', resolve)) }
})

const state = new CheckedState(counters, 0)
const random = seededRandom(seed)
const stopChurn = startChurn(loads, random, () => state.advance())
const started = performance.now()
for (let i = 0; total.endedWell + total.failed.length < count; i++) {
  const kind = /** @type {import('./checked-fork.mjs').Kind} */ (kinds[i % kinds.length])
  for (let busy = 0; ; busy++) {
    // At a random point of the loads' work.
    await new Promise((resolve) => setTimeout(resolve, random() * 20))
    const calledAt = performance.now()
    try {
      countWell(await state.fork(kind, directory, options, sayWhenSlow))
      break
    } catch (error) {
      const { code, message } = /** @type {any} */ (error)
      if (code === 'ERR_STILLFRAME_BUSY' && busy < maxBusy) {
        total.busy++
        pauses.busyMs?.push(performance.now() - calledAt)
        continue
      }
      countFailed({ kind, code, message, where: 'main thread' })
      break
    }
  }
  if (!values.json && i % 100 === 99) console.log(`${total.endedWell} of ${count}: ${JSON.stringify(total)}`)
}

stopChurn()
for (const { worker } of workers) worker.postMessage('stop')
await Promise.all(workers.map(({ ended }) => ended))
const leftBehind = readdirSync(directory)
rmSync(directory, { recursive: true })

const statistics = Object.fromEntries(
  Object.entries(pauses)
    .filter(([, list]) => list.length > 0)
    .map(([name, list]) => [name, describe(list)]),
)
const seconds = Math.round((performance.now() - started) / 1000)
const { version, execArgv } = process
if (values.json) {
  console.log(JSON.stringify({ version, seed, seconds, ...total, leftBehind, pauses: statistics }))
} else {
  console.log(
    `Node ${version} ${execArgv.join(' ')}, seed ${seed}, ${seconds} s, loads ${loads}, kinds ${kinds}`,
  )
  console.log(
    `ended well ${total.endedWell} (of them from worker threads ${total.fromWorkers}, at the second attempt ` +
      `${total.retried}), called again since threads were busy ${total.busy}, failed ${total.failed.length}, ` +
      `files left behind ${leftBehind.length}`,
  )
  console.log('first attempts that failed:', total.died)
  console.log('garbage collections in the copies:', total.gcs)
  console.table(statistics)
}
process.exitCode = total.failed.length === 0 && leftBehind.length === 0 && total.endedWell >= count ? 0 : 1

/** @param {number[]} list */
function describe(list) {
  const sorted = list.toSorted((a, b) => a - b)
  const at = (/** @type {number} */ part) =>
    Number((sorted[Math.floor(part * (sorted.length - 1))] ?? 0).toFixed(2))
  return { count: list.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) }
}

/** Names the slow copy, for debugging. @param {import('stillframe/heap').ForkJob} job */
function sayWhenSlow(job) {
  const timer = setTimeout(() => console.error(`the copy ${job.pid} takes long`), 4000)
  job.done.then(
    () => clearTimeout(timer),
    () => clearTimeout(timer),
  )
}
