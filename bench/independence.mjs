// Does other memory of the process lengthen the pause of snapshot(), and does a large region make
// child_process.spawn slower?
//
// One process captures a region alone, then next to another region, then next to a JS heap, then
// next to both, with all engines in turns in each of these states. Another process alternately
// spawns /bin/true without and with a region.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { GIB, MIB, touchedRegion } from './support/pages.mjs'
import { quiet } from './support/quiet.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, ratio, size } from './support/table.mjs'

const mappings = () => readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1

/** About `byteLength` bytes of JS objects: small arrays of doubles, which use only V8's heap. */
const jsHeap = (byteLength) => {
  const objects = []
  for (let have = 0; have < byteLength; have += 1040) {
    objects.push(Array.from({ length: 128 }, () => Math.random()))
  }
  return objects
}

/**
 * Duration of the calls, by engine. Captures are aborted immediately, since only the freeze
 * matters.
 */
const pausesOf = async (region, { engines, rounds, directory }) => {
  const pauses = Object.fromEntries(engines.map((engine) => [engine, []]))
  for (let round = -1; round < rounds; round++) {
    for (const engine of engines) {
      await quiet()
      const started = performance.now()
      const shot = snapshot(region, `${directory}/image`, engineOptions[engine])
      const pauseMs = performance.now() - started
      shot.abort()
      await shot.done.catch(() => {})
      if (round >= 0) pauses[engine].push(pauseMs) // the first round runs cold code
    }
  }
  return { mappings: mappings(), pauses }
}

/** How long spawn() blocks its caller. */
const spawnTimes = async (rounds) => {
  const times = []
  for (let round = -1; round < rounds; round++) {
    const started = performance.now()
    const child = spawn('/bin/true', { stdio: 'ignore' })
    const took = performance.now() - started
    if (round >= 0) times.push(took)
    await once(child, 'exit')
  }
  return times
}

export const scenarios = {
  async pauses(options) {
    const { region } = touchedRegion(options.byteLength, true)
    const states = [{ what: 'alone', ...(await pausesOf(region, options)) }]
    const beside = async (what) => states.push({ what, ...(await pausesOf(region, options)) })
    const first = touchedRegion(options.byteLength, true).region
    await beside(`beside another of ${size(options.byteLength)}`)
    first.close()
    const objects = jsHeap(options.heapBytes)
    await beside(`beside a JS heap of ${size(options.heapBytes)}`)
    const second = touchedRegion(options.byteLength, true).region
    await beside('beside both')
    second.close()
    if (objects.length === 0) throw new Error('unreachable: keeps the objects alive')
    return states
  },

  async spawns({ byteLength, turns, rounds }) {
    const without = []
    const beside = []
    for (let turn = 0; turn < turns; turn++) {
      without.push(...(await spawnTimes(rounds)))
      const { region } = touchedRegion(byteLength, true)
      beside.push(...(await spawnTimes(rounds)))
      region.close()
    }
    return [
      { what: 'no region', times: without },
      { what: `beside a region of ${size(byteLength)}`, times: beside },
    ]
  },
}

const measure = async (settings, { directory, note, skipped }) => {
  const engines = await usableEngines(directory, skipped)
  const { byteLength, heapBytes, rounds, spawnBytes, spawnTurns, spawnRounds } = settings
  const run = async (name, memory, options) => {
    const what = `${name} of independence`
    const reason = whyNoRoom(directory, { memory })
    if (reason !== undefined) {
      skipped.push({ what, reason })
      return []
    }
    note(`independence: ${name}`)
    const limits = { timeoutMs: 900_000 }
    return (await tryScenario(skipped, what, import.meta.url, name, options, limits)) ?? []
  }
  const pauses = { engines, byteLength, heapBytes, rounds, directory }
  const spawns = { byteLength: spawnBytes, turns: spawnTurns, rounds: spawnRounds }
  return {
    states: await run('pauses', 2 * byteLength + 2 * heapBytes, pauses),
    spawns: await run('spawns', spawnBytes, spawns),
  }
}

const pauseTable = (states, { byteLength, rounds }) => ({
  title: `Pause of a region of ${size(byteLength)} in huge pages, beside other memory`,
  columns: ['engine', 'the region', 'mappings', 'min ms', 'p50 ms', 'min to alone', 'added ms'],
  rows: Object.keys(states[0].pauses).flatMap((engine) => {
    const alone = summary(states[0].pauses[engine])
    return states.map((state) => {
      const { min, p50 } = summary(state.pauses[engine])
      const added = number(min - alone.min)
      return [
        engine,
        state.what,
        String(state.mappings),
        number(min),
        number(p50),
        ratio(min, alone.min),
        added,
      ]
    })
  }),
  note: `${rounds} captures each, aborted at once; all engines in turns. "mappings" are those of the process.`,
})

const spawnTable = (spawns, { spawnTurns, spawnRounds }) => ({
  title: 'child_process.spawn beside a region',
  columns: ['the process', 'min ms', 'p50 ms', 'p99 ms', 'p50 to without'],
  rows: spawns.map(({ what, times }) => {
    const { min, p50, p99 } = summary(times)
    return [what, number(min), number(p50), number(p99), ratio(p50, summary(spawns[0].times).p50)]
  }),
  note: `${spawnTurns * spawnRounds} spawns each, in ${spawnTurns} turns.`,
})

export const bench = {
  name: 'independence',
  title: 'What other memory adds to the pause, and a region to spawn',
  about: 'Pauses beside another region and a JS heap; child_process.spawn beside a big region.',
  settings: {
    full: {
      byteLength: 4 * GIB,
      heapBytes: GIB,
      rounds: 25,
      spawnBytes: 8 * GIB,
      spawnTurns: 3,
      spawnRounds: 60,
    },
    quick: {
      byteLength: GIB / 2,
      heapBytes: 128 * MIB,
      rounds: 10,
      spawnBytes: GIB,
      spawnTurns: 2,
      spawnRounds: 20,
    },
  },
  measure,
  tables: ({ rows, settings }) => [
    ...(rows.states.length === 0 ? [] : [pauseTable(rows.states, settings)]),
    ...(rows.spawns.length === 0 ? [] : [spawnTable(rows.spawns, settings)]),
  ],
  plots: () => [],
}

runIfMain(import.meta.url, bench)
