// What does a delta save, and what does it not? A full snapshot and a delta of the same region in
// one run, for each engine and for two patterns of change; the savings from recording writes, by
// size of the region; the effect on a service that writes scattered pages and captures a frame
// every second; and the time to restore a chain, compared with one full file.
import { setTimeout as sleep } from 'node:timers/promises'
import { restore, snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { GIB, HUGE_PAGE, MIB, PAGE, touchedRegion } from './support/pages.mjs'
import { hugePageBytes } from './support/proc-memory.mjs'
import { randomIntegers, shuffled } from './support/random.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, ratio, size } from './support/table.mjs'

const PAGES_OF_UNIT = HUGE_PAGE / PAGE

/** All pages of `units` units of 2 MiB, in seeded order. */
const pagesOfUnits = (pages, units, seed) =>
  Array.from(shuffled(pages.count / PAGES_OF_UNIT, seed).subarray(0, units), (unit) =>
    Array.from({ length: PAGES_OF_UNIT }, (_, page) => unit * PAGES_OF_UNIT + page),
  ).flat()

/** Patterns of change between two frames: pages to write, in seeded order. */
const changes = {
  '1 % of 2 MiB units': (pages, seed) =>
    pagesOfUnits(pages, Math.ceil(pages.count / PAGES_OF_UNIT / 100), seed),
  '10,000 random pages': (pages, seed) => shuffled(pages.count, seed).subarray(0, 10_000),
}

/** All pages differ from each other, so that none is zero or repeated. */
const filled = (byteLength, hugePages = true) => {
  const made = touchedRegion(byteLength, hugePages)
  for (let page = 0; page < made.pages.count; page++) made.pages.write(page, page % 251)
  return made
}

const measured = ['pauseMs', 'durationMs', 'allocatedBytes', 'changedBytes', 'scannedBytes']

/** Medians of the results, for full snapshots and for deltas. */
const mediansOf = (taken) => {
  const median = (results, name) => summary(results.map((result) => result[name])).p50
  return Object.fromEntries(
    Object.entries(taken).map(([kind, results]) => [
      kind,
      Object.fromEntries(measured.map((name) => [name, median(results, name)])),
    ]),
  )
}

/**
 * Writes random pages at a given rate per second, on the thread that created it. It does not catch
 * up after a late turn: it then writes less.
 */
class SteadyWriter {
  static #everyMs = 5
  #written = 0
  #seen = { written: 0, at: performance.now() }
  #timer

  constructor(pages, writesPerSecond, seed) {
    const random = randomIntegers(seed)
    const share = (writesPerSecond * SteadyWriter.#everyMs) / 1000
    this.#timer = setInterval(() => {
      for (let i = 0; i < share; i++) pages.write(random(pages.count), ++this.#written % 250)
    }, SteadyWriter.#everyMs)
  }

  /** Writes per second since the last call. */
  speed() {
    const now = { written: this.#written, at: performance.now() }
    const since = ((now.written - this.#seen.written) / (now.at - this.#seen.at)) * 1000
    this.#seen = now
    return since
  }

  stop() {
    clearInterval(this.#timer)
  }
}

export const scenarios = {
  /** Alternates full snapshots and deltas, each after the same number of writes. */
  async pair({ engine, change, byteLength, rounds, seed, directory }) {
    const { region, pages } = filled(byteLength)
    const options = { ...engineOptions[engine], memoryLimit: byteLength, durable: false }
    let value = 0
    const write = (round) => {
      value = (value + 1) % 250
      for (const page of changes[change](pages, seed + round)) pages.write(page, value)
    }
    const take = async (name, more) => {
      const started = performance.now()
      const running = snapshot(region, `${directory}/${name}`, { ...options, ...more })
      const pauseMs = performance.now() - started
      return { ...(await running.done), pauseMs }
    }
    let parent = await take('0')
    const taken = { full: [], delta: [] }
    for (let round = 0; round < rounds; round++) {
      write(2 * round)
      taken.full.push(await take('full'))
      write(2 * round + 1)
      parent = await take(String(round + 1), { parent })
      taken.delta.push(parent)
      await sleep(200)
    }
    return mediansOf(taken)
  },

  /**
   * Full snapshots, then deltas with a record of the writes, each after writes to the same number
   * of 2 MiB units.
   */
  async tracked({ byteLength, units, hugePages, rounds, seed, directory }) {
    const { region, pages } = filled(byteLength, hugePages)
    const options = { ...engineOptions['userfaultfd thread'], memoryLimit: byteLength, durable: false }
    let value = 0
    const write = (round) => {
      value = (value + 1) % 250
      for (const page of pagesOfUnits(pages, units, seed + round)) pages.write(page, value)
    }
    const take = async (taken, name, more = {}) => {
      await sleep(200)
      const result = await snapshot(region, `${directory}/${name}`, { ...options, ...more }).done
      taken.push(result)
      return result
    }
    const taken = { full: [], delta: [] }
    for (let round = 0; round < rounds; round++) {
      write(round)
      await take(taken.full, 'full')
    }
    let parent = await take([], '0', { trackChanges: true })
    for (let round = 1; round <= rounds; round++) {
      write(rounds + round)
      parent = await take(taken.delta, String(round), { parent, trackChanges: true })
    }
    return mediansOf(taken)
  },

  /**
   * Writes random pages at a steady rate, first alone, then with one frame per period, each
   * building on the last.
   */
  async steady({ byteLength, frames, writesPerSecond, everyMs, recorded, seed, directory }) {
    const hugeBefore = hugePageBytes()
    const { region, pages } = filled(byteLength)
    const hugeBytes = hugePageBytes() - hugeBefore
    const options = {
      ...engineOptions[recorded ? 'userfaultfd thread' : 'fork'],
      memoryLimit: byteLength,
      durable: false,
    }
    const writer = new SteadyWriter(pages, writesPerSecond, seed)
    await sleep(2 * everyMs)
    writer.speed()
    await sleep(5 * everyMs)
    const alone = writer.speed()
    const recording = recorded ? { trackChanges: true } : {}
    let parent = await snapshot(region, `${directory}/0`, { ...options, ...recording }).done
    writer.speed()
    const pauses = []
    const durations = []
    for (let frame = 1; frame <= frames; frame++) {
      const next = performance.now() + everyMs
      parent = await snapshot(region, `${directory}/${frame}`, { ...options, ...recording, parent }).done
      pauses.push(parent.pauseMs)
      durations.push(parent.durationMs)
      await sleep(Math.max(0, next - performance.now()))
    }
    const beside = writer.speed()
    writer.stop()
    const endedAt = performance.now()
    const isWhole = () => hugePageBytes() - hugeBefore >= 0.99 * hugeBytes
    while (!isWhole() && performance.now() < endedAt + 10_000) await sleep(50)
    const tenth = Math.ceil(frames / 10)
    return {
      firstPauseMs: summary(pauses.slice(0, tenth)).p50,
      lastPauseMs: summary(pauses.slice(-tenth)).p50,
      durationMs: summary(durations).p50,
      writerToAlone: beside / alone,
      wholeAgainMs: isWhole() ? performance.now() - endedAt : undefined,
    }
  },

  /** Alternately restores a chain and one full file of the same memory. */
  async chain({ change, byteLength, length, rounds, seed, directory }) {
    const { region, pages } = filled(byteLength)
    const options = { ...engineOptions.fork, memoryLimit: byteLength, durable: false }
    let parent = await snapshot(region, `${directory}/0`, options).done
    for (let frame = 1; frame <= length; frame++) {
      for (const page of changes[change](pages, seed + frame)) pages.write(page, frame)
      parent = await snapshot(region, `${directory}/${frame}`, { ...options, parent }).done
    }
    await snapshot(region, `${directory}/full`, options).done
    region.close()
    const timeOf = async (path, mode) => {
      const started = performance.now()
      const restored = await restore(path, { mode, verify: mode === 'copy' })
      const first = new Uint8Array(restored.regions.main.buffer, 0, 1)[0]
      const ms = performance.now() - started
      restored.close()
      return first === undefined ? Number.NaN : ms
    }
    const times = { 'chain copy': [], 'full copy': [], 'chain map': [], 'full map': [] }
    for (let round = 0; round < rounds; round++) {
      for (const mode of ['copy', 'map']) {
        times[`chain ${mode}`].push(await timeOf(parent.path, mode))
        times[`full ${mode}`].push(await timeOf(`${directory}/full`, mode))
      }
    }
    return Object.fromEntries(Object.entries(times).map(([name, ms]) => [name, summary(ms).p50]))
  },
}

const measure = async (settings, { seed, directory, note, skipped }) => {
  const { byteLength, chainBytes, chainLength, rounds } = settings
  const tracked = await measureTracked(settings, { seed, directory, note, skipped })
  const steady = await measureSteady(settings, { seed, directory, note, skipped })
  const need = { memory: 1.2 * byteLength, disk: 3 * byteLength }
  const reason = whyNoRoom(directory, need)
  if (reason !== undefined) {
    skipped.push({ what: `a region of ${size(byteLength)}`, reason })
    return { tracked, steady, pairs: [], chains: [] }
  }
  const pairs = []
  const chains = []
  for (const change of Object.keys(changes)) {
    for (const engine of await usableEngines(directory, skipped)) {
      const what = `${change}, ${engine}`
      note(`deltas: ${what}`)
      const options = { engine, change, byteLength, rounds, seed, directory }
      const found = await tryScenario(skipped, what, import.meta.url, 'pair', options)
      if (found !== undefined) pairs.push({ change, engine, ...found })
    }
    note(`deltas: ${change}, a chain of ${chainLength}`)
    const options = { change, byteLength: chainBytes, length: chainLength, rounds, seed, directory }
    const found = await tryScenario(skipped, `${change}, chain`, import.meta.url, 'chain', options)
    if (found !== undefined) chains.push({ change, ...found })
  }
  return { tracked, steady, pairs, chains }
}

/** The same number of units in a small and in a large region, to show what depends on the size. */
const measureTracked = async (settings, { seed, directory, note, skipped }) => {
  const { trackedBytes, trackedUnits: units, trackedRounds: rounds } = settings
  const rows = []
  for (const hugePages of [true, false]) {
    for (const byteLength of trackedBytes) {
      const what = `record of ${size(byteLength)} in ${hugePages ? 'huge' : 'small'} pages`
      const reason = whyNoRoom(directory, { memory: 1.2 * byteLength, disk: 2.5 * byteLength })
      if (reason !== undefined) {
        skipped.push({ what, reason })
        continue
      }
      note(`deltas: ${what}`)
      const options = { byteLength, units, hugePages, rounds, seed, directory }
      const found = await tryScenario(skipped, what, import.meta.url, 'tracked', options)
      if (found !== undefined) rows.push({ byteLength, hugePages, ...found })
    }
  }
  return rows
}

const measureSteady = async (settings, { seed, directory, note, skipped }) => {
  const { steadyBytes: byteLength, steadyFrames: frames, writesPerSecond, everyMs } = settings
  const changed = (frames * writesPerSecond * PAGE * everyMs) / 1000
  const reason = whyNoRoom(directory, { memory: 1.5 * byteLength, disk: byteLength + changed })
  if (reason !== undefined) {
    skipped.push({ what: 'a frame each period', reason })
    return []
  }
  const rows = []
  for (const recorded of [true, false]) {
    const what = `a frame each ${everyMs} ms, ${recorded ? 'recorded' : 'compared by content'}`
    note(`deltas: ${what}`)
    const options = { byteLength, frames, writesPerSecond, everyMs, recorded, seed, directory }
    const found = await tryScenario(skipped, what, import.meta.url, 'steady', options)
    if (found !== undefined) rows.push({ recorded, ...found })
  }
  return rows
}

const comparedColumns = [
  'pause ms',
  'to full',
  'duration ms',
  'to full',
  'on the disk',
  'to the changed pages',
  'read to find them',
]

const comparedCells = (full, delta) => [
  number(delta.pauseMs),
  ratio(delta.pauseMs, full.pauseMs),
  number(delta.durationMs),
  ratio(delta.durationMs, full.durationMs),
  size(delta.allocatedBytes),
  ratio(delta.allocatedBytes, delta.changedBytes),
  size(delta.scannedBytes),
]

const pairTable = (pairs, { byteLength, rounds }) => ({
  title: `A delta beside a full snapshot, region of ${size(byteLength)} in huge pages`,
  columns: ['written between frames', 'engine', ...comparedColumns],
  rows: pairs.map(({ change, engine, full, delta }) => [change, engine, ...comparedCells(full, delta)]),
  note: `Medians of ${rounds} pairs, taken by turns. Changes are found by content: all of the memory is read.`,
})

const trackedTable = (rows, { trackedUnits, trackedRounds }) => ({
  title: `Deltas of a region of which record is kept, with ${trackedUnits} units of 2 MiB written before each`,
  columns: ['region', 'pages', ...comparedColumns],
  rows: rows.map(({ byteLength, hugePages, full, delta }) => [
    size(byteLength),
    hugePages ? '2 MiB' : '4 KiB',
    ...comparedCells(full, delta),
  ]),
  note: `Engine userfaultfd with the fault thread. Medians of ${trackedRounds} full snapshots without a record, and of as many deltas with it after that.`,
})

const steadyTable = (rows, { steadyBytes, steadyFrames, writesPerSecond, everyMs }) => ({
  title: `${steadyFrames} frames, one each ${everyMs} ms, of ${size(steadyBytes)}, with ${number(writesPerSecond)} random pages written a second`,
  columns: [
    'changes are',
    'pause of the first tenth, ms',
    'of the last, ms',
    'to the first',
    'duration ms',
    "writer's speed, to alone",
    'huge pages whole again after, ms',
  ],
  rows: rows.map((row) => [
    row.recorded ? 'recorded (userfaultfd thread)' : 'found by content (fork)',
    number(row.firstPauseMs),
    number(row.lastPauseMs),
    ratio(row.lastPauseMs, row.firstPauseMs),
    number(row.durationMs),
    ratio(row.writerToAlone, 1),
    row.wholeAgainMs === undefined ? 'not within 10 s' : number(row.wholeAgainMs),
  ]),
  note: 'Each frame builds on the one before. Speed: writes made a second, on the thread that takes the frames; a turn that comes late is lost.',
})

const chainTable = (chains, { chainBytes, chainLength, rounds }) => ({
  title: `A full file and ${chainLength} deltas restored, beside one full file, ${size(chainBytes)}`,
  columns: ['written between frames', 'copy, ms', 'to full', 'map to the first read, ms', 'to full'],
  rows: chains.map((row) => [
    row.change,
    number(row['chain copy']),
    ratio(row['chain copy'], row['full copy']),
    number(row['chain map']),
    ratio(row['chain map'], row['full map']),
  ]),
  note: `Medians of ${rounds}, taken by turns. Copies are checked, mappings are not. Files are in the page cache or not, as the machine has it.`,
})

export const bench = {
  name: 'deltas',
  title: 'Frames that build on one another',
  about: 'Takes deltas and full snapshots by turns, and restores a chain beside one full file.',
  settings: {
    full: {
      ...{ byteLength: 2 * GIB, chainBytes: 4 * GIB, chainLength: 16, rounds: 5 },
      ...{ trackedBytes: [GIB, 8 * GIB], trackedUnits: 41, trackedRounds: 5 },
      ...{ steadyBytes: GIB, steadyFrames: 100, writesPerSecond: 10_000, everyMs: 1000 },
    },
    quick: {
      ...{ byteLength: 256 * MIB, chainBytes: 256 * MIB, chainLength: 4, rounds: 2 },
      ...{ trackedBytes: [128 * MIB, 512 * MIB], trackedUnits: 3, trackedRounds: 3 },
      ...{ steadyBytes: 128 * MIB, steadyFrames: 10, writesPerSecond: 10_000, everyMs: 300 },
    },
  },
  measure,
  tables: ({ rows, settings }) => [
    ...(rows.tracked.length > 0 ? [trackedTable(rows.tracked, settings)] : []),
    ...(rows.steady.length > 0 ? [steadyTable(rows.steady, settings)] : []),
    ...(rows.pairs.length > 0 ? [pairTable(rows.pairs, settings)] : []),
    ...(rows.chains.length > 0 ? [chainTable(rows.chains, settings)] : []),
  ],
  plots: () => [],
}

runIfMain(import.meta.url, bench)
