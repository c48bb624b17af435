#!/usr/bin/env node
// Runs services that die of a leak, again and again. Each must leave a complete heap snapshot, and
// end as it does without stillframe. Every tenth file, and the first of each kind, is read by the
// reader of Chrome DevTools, which takes minutes for large files. The others are read completely by
// our own reader.
//
//   npm run test:dying                           50 runs with a heap of 128 MiB, and some with more
//   npm run test:dying -- --runs 10 --only objects,buffers
//   npm run test:dying -- --only cgroup          as root: 20 runs in a real control group
//
// A Worker has a small limit, since with larger limits Node 22 and 24 end the whole process even
// without stillframe.
//
//   --only LIST     objects, closures, buffers (above a limit of RSS), worker (with its own limit),
//                   ends (the leak ends in time), larger (heaps of 256 to 1,024 MiB), cgroup
//   --at-once N     number of services that run at the same time
import { spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { summarizeHeapSnapshot } from '../../dist/heap-file/summary.js'
import { classesIn as byDevTools } from '../support/heap-classes.mjs'

const service = fileURLToPath(new URL('fixtures/watched.mjs', import.meta.url))
const MiB = 2 ** 20
const longestMs = 300_000
// Control groups of version 2, or of version 1.
const isUnified = existsSync('/sys/fs/cgroup/cgroup.controllers')
const groupPath = `/sys/fs/cgroup/${isUnified ? '' : 'memory/'}stillframe-test-${process.pid}`
const limitFile = isUnified ? 'memory.max' : 'memory.limit_in_bytes'

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '50' },
    only: { type: 'string', default: 'objects,closures,buffers,worker,ends,larger' },
    'at-once': { type: 'string', default: '1' },
  },
})
const runs = Number(values.runs)
const some = Math.max(1, Math.round(runs / 5))

/** Expected ends of the services, the same as without stillframe. */
const aborted = { signal: 'SIGABRT', text: 'JavaScript heap out of memory' }
const alive = { signal: 'SIGKILL', text: '' }

/** @type {Record<string, object[]>} */
const cases = {
  objects: [{ runs, heapMiB: 128, plan: { leak: 'objects' }, largest: 'PlantedLeak', end: aborted }],
  closures: [{ runs: some, heapMiB: 128, plan: { leak: 'closures' }, largest: 'Function', end: aborted }],
  buffers: [
    {
      runs: some,
      heapMiB: 128,
      plan: { leak: 'buffers', most: 600 },
      options: { rssBytes: 300 * MiB, nearHeapLimit: false },
      largest: 'system / JSArrayBufferData',
      end: alive,
    },
  ],
  worker: [{ runs: some, plan: { leak: 'objects', worker: 32 }, largest: 'PlantedLeak', end: alive }],
  ends: [
    {
      runs: some,
      heapMiB: 128,
      plan: { leak: 'objects', most: 900_000 },
      // 128 MiB of old space give different heap limits: 176 MiB on Node 22, 320 MiB on 24.
      options: { heapUsedBytes: 40 * MiB },
      largest: 'PlantedLeak',
      end: alive,
    },
  ],
  larger: [256, 512, 1024].map((heapMiB) => ({
    runs: heapMiB > 256 ? 1 : 2,
    heapMiB,
    plan: { leak: 'objects' },
    largest: 'PlantedLeak',
    end: aborted,
  })),
  cgroup: [
    { heapMiB: 64, most: 250_000, percent: 10, kind: 'snapshot' },
    { heapMiB: 128, most: 900_000, percent: 40, kind: 'summary' },
  ].map(({ heapMiB, most, percent, kind }) => ({
    runs: 20,
    heapMiB,
    plan: { leak: 'objects', most },
    options: { heapUsedPercent: percent },
    largest: 'PlantedLeak',
    end: alive,
    kind,
    groupMiB: 512,
  })),
}

/** Runs a service to its end. Returns a description of the fault, or undefined if there is none. */
async function die({ heapMiB, plan, options = {}, largest, end, kind = 'snapshot', groupMiB }, watch) {
  const directory = mkdtempSync(join(tmpdir(), 'stillframe-dying-'))
  const given = [JSON.stringify({ directory, everyMs: 20, ...options }), JSON.stringify({ ...plan, watch })]
  const node = [
    process.execPath,
    ...(heapMiB === undefined ? [] : [`--max-old-space-size=${heapMiB}`]),
    service,
    ...given,
  ]
  const wrapper =
    groupMiB === undefined ? [] : ['sh', '-c', `echo $$ > ${groupPath}/cgroup.procs && exec "$@"`, 'sh']
  const [file, ...args] = [...wrapper, ...node]
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  try {
    const seen = { stderr: '', stdout: '', end: undefined }
    child.stderr.on('data', (chunk) => (seen.stderr += chunk))
    child.stdout.on('data', (chunk) => (seen.stdout += chunk))
    child.once('exit', (status, signal) => (seen.end = signal ?? status))
    const until = Date.now() + longestMs
    const isDone = () => {
      if (end !== alive) return seen.end !== undefined
      if (seen.end !== undefined) return true
      return seen.stdout.includes(plan.worker !== undefined ? '"worker"' : watch ? '"capture"' : '"leaked"')
    }
    while (!isDone() && Date.now() < until) await sleep(20)
    if (!isDone()) return `nothing came of it: ${seen.stdout.slice(0, 1000)} ${seen.stderr}`
    if (end === alive) {
      if (seen.end !== undefined) return `the service ended: ${seen.end} ${seen.stderr}`
      child.stdin.write('well?\n')
      while (!seen.stdout.includes('"lives"') && seen.end === undefined && Date.now() < until) await sleep(20)
      if (!seen.stdout.includes('"lives"')) return `the service did not go on: ${seen.end} ${seen.stderr}`
      child.kill('SIGKILL')
    } else if (seen.end !== end.signal || !seen.stderr.includes(end.text)) {
      return `it ended by ${seen.end}: ${seen.stderr}`
    }
    if (!watch) return undefined
    const wrong = await examine(directory, { largest, kind, until })
    return wrong && `${wrong}; it said: ${seen.stderr.slice(0, 4000)} ${seen.stdout.slice(0, 1000)}`
  } finally {
    child.kill('SIGKILL')
    rmSync(directory, { recursive: true, force: true })
  }
}

const endings = { snapshot: '.heapsnapshot', summary: '.heapsummary.json' }

async function examine(directory, { largest, kind, until }) {
  const published = () => readdirSync(directory).filter((name) => name.endsWith(endings[kind]))
  const isAlone = () => readdirSync(directory).length === published().length
  while ((published().length === 0 || !isAlone()) && Date.now() < until) {
    if (kind === 'snapshot' && published().length === 0 && !copyRuns(directory)) {
      // A copy cannot be recognized between its fork and the moment at which it sets its own name.
      await sleep(5000)
      if (published().length === 0 && !copyRuns(directory))
        return `no snapshot, but ${readdirSync(directory)}`
    }
    await sleep(50)
  }
  const [name] = published()
  if (name === undefined) return `no ${kind}, but ${readdirSync(directory)}`
  const path = join(directory, name)
  const classes = await classesIn(path, kind)
  // The program's objects keep their contents in arrays and strings.
  const first = classes.find((one) => one === largest || (!/^[(]|^system/.test(one) && one !== 'Array'))
  return first === largest ? undefined : `the largest class is ${first}`
}

/**
 * No file names the owner of a copy, but only a copy of this service has this directory in its
 * command line.
 */
function copyRuns(directory) {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/comm`, 'utf8') !== 'stillframe\n') continue
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(directory)) return true
    } catch {}
  }
  return false
}

let filesRead = 0

async function classesIn(path, kind) {
  if (kind === 'summary') return JSON.parse(readFileSync(path, 'utf8')).classes.map(({ name }) => name)
  const summary = await summarizeHeapSnapshot(path, { top: 20, shallow: true })
  if (filesRead++ % 10 !== 0 || summary.fileSize > 500 * MiB) return summary.classes.map(({ name }) => name)
  return (await byDevTools(path)).map(({ name }) => name)
}

/** Killed processes leave the group slightly later. */
async function removeGroup() {
  for (let attempts = 100; ; attempts--) {
    try {
      rmdirSync(groupPath)
      return
    } catch (error) {
      if (attempts === 0) throw error
      await sleep(100)
    }
  }
}

let failed = false
for (const name of values.only.split(',')) {
  for (const one of cases[name] ?? []) {
    filesRead = 0
    if (one.groupMiB !== undefined) {
      mkdirSync(groupPath)
      writeFileSync(`${groupPath}/${limitFile}`, String(one.groupMiB * MiB))
    }
    const what = `${name}, heap of ${one.heapMiB ?? one.plan.worker} MiB`
    const without = one.groupMiB === undefined ? 1 : one.runs
    for (const [watch, count] of [
      [false, without],
      [true, one.runs],
    ]) {
      let good = 0
      let next = 0
      const worker = async () => {
        while (next++ < count) {
          const wrong = await die(one, watch)
          if (wrong === undefined) good++
          else console.log(`${what}: ${wrong}`)
        }
      }
      // Services in a control group run one at a time, since they would share its limit.
      const atOnce = one.groupMiB === undefined ? Number(values['at-once']) : 1
      await Promise.all(Array.from({ length: atOnce }, worker))
      const left = watch ? `left a ${one.kind ?? 'snapshot'} and ` : ''
      console.log(
        `${process.version}: ${what}, ${watch ? 'with' : 'without'} us: ${good} of ${count} ${left}ended as expected`,
      )
      failed ||= good < count
    }
    if (one.groupMiB !== undefined) await removeGroup()
  }
}
process.exit(failed ? 1 : 0)
