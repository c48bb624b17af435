// Does other memory of the process add to the pause of snapshot(), and does a big region make
// child_process.spawn slower?
//
//   node bench/independence.mjs [--size 4GiB] [--heap 1GiB] [--rounds 15] [--json]
//
// Each scenario runs in a process of its own; all run in one go, in turns, so that the machine's mood hits
// them alike. Pauses are of captures that are aborted at once: only the freeze is of interest here. Medians,
// and the ratio to the scenario without the other memory.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Region, snapshot } from 'stillframe'

const GIB = 2 ** 30

const bytes = (text) => {
  const match = /^(\d+(?:\.\d+)?)\s*(MiB|GiB)$/.exec(text)
  if (!match) throw new TypeError(`not a size: '${text}'; write it as 512MiB or 4GiB`)
  return Number(match[1]) * (match[2] === 'GiB' ? GIB : 2 ** 20)
}
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]
const quantile = (values, q) =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]

const touched = (byteLength) => {
  const region = Region.allocate(byteLength)
  for (let at = 0; at < byteLength; at += GIB) {
    new Uint8Array(region.buffer, at, Math.min(GIB, byteLength - at)).fill(1 + at / GIB)
  }
  return region
}

// About `byteLength` of JS objects: small arrays of doubles, so that it is V8's heap and nothing else.
const jsHeap = (byteLength) => {
  const objects = []
  for (let have = 0; have < byteLength; have += 1040)
    objects.push(Array.from({ length: 128 }, () => Math.random()))
  return objects
}

const median_pause = async (region, rounds) => {
  const directory = mkdtempSync(join(tmpdir(), 'stillframe-bench-'))
  const pauses = []
  try {
    for (let i = 0; i < rounds + 1; i++) {
      const shot = snapshot(region, join(directory, 'image'), { engine: 'fork' })
      shot.abort()
      await shot.done.catch(() => {})
      if (i > 0) pauses.push(shot.pauseMs) // the first one runs cold code
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
  return { median: median(pauses), max: Math.max(...pauses) }
}

const spawn_cost = async (rounds) => {
  const blocked = []
  for (let i = 0; i < rounds * 4; i++) {
    const started = performance.now()
    const child = spawn('/bin/true', { stdio: 'ignore' })
    blocked.push(performance.now() - started)
    await once(child, 'exit')
  }
  return { median: median(blocked), max: quantile(blocked, 0.99) }
}

const scenarios = {
  'pause, region alone': ({ size, rounds }) => median_pause(touched(size), rounds),
  'pause, beside another region and a JS heap': async ({ size, heap, rounds }) => {
    const other = touched(size)
    const objects = jsHeap(heap)
    const result = await median_pause(touched(size), rounds)
    if (other.byteLength + objects.length === 0) throw new Error('unreachable: keeps both alive')
    return result
  },
  'spawn, no region': ({ rounds }) => spawn_cost(rounds),
  'spawn, beside a region of twice the size': async ({ size, rounds }) => {
    const region = touched(2 * size)
    const result = await spawn_cost(rounds)
    region.close()
    return result
  },
}

if (process.send) {
  process.once('message', async ({ name, options }) => {
    process.send(await scenarios[name](options))
    process.disconnect()
  })
} else {
  const { values } = parseArgs({
    options: {
      size: { type: 'string', default: '4GiB' },
      heap: { type: 'string', default: '1GiB' },
      rounds: { type: 'string', default: '15' },
      json: { type: 'boolean', default: false },
    },
  })
  const options = { size: bytes(values.size), heap: bytes(values.heap), rounds: Number(values.rounds) }
  const results = {}
  for (const name of Object.keys(scenarios)) {
    const child = fork(fileURLToPath(import.meta.url), { execArgv: ['--max-old-space-size=4096'] })
    child.send({ name, options })
    const [result] = await once(child, 'message')
    results[name] = result
    if (child.exitCode === null) await once(child, 'exit')
  }
  if (values.json) {
    console.log(JSON.stringify({ options, results }, null, 2))
  } else {
    console.log(`regions of ${values.size}, touched; JS heap of ${values.heap}; ${values.rounds} rounds\n`)
    let base
    for (const [name, { median: middle, max }] of Object.entries(results)) {
      if (name.includes('alone') || name.includes('no region')) base = middle
      const ratio = (middle / base).toFixed(2)
      console.log(
        `${name.padEnd(44)} median ${middle.toFixed(2).padStart(7)} ms   max ${max.toFixed(2).padStart(7)} ms   x${ratio}`,
      )
    }
  }
}
