// How long is the event loop blocked while a snapshot runs and the same thread writes all of the
// memory?
//
// Three phases in one process: the loop turns and does nothing; it writes random pages in short
// slices; it does so while a snapshot is taken, starting with the call. All three several times in
// turn, since a single stall decides about the highest percentiles of a second. Two clocks:
// - Node's own monitorEventLoopDelay at 1 ms, which records the distance between two ticks of a
//   timer, so that even an idle loop shows its period of 1 ms;
// - arrivals: every millisecond a simulated request arrives and waits for the next turn of the
//   loop. All requests that arrive during a long stall count, so that a stall weighs as much as the
//   service's callers feel it.
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { GIB, MIB, touchedRegion } from './support/pages.mjs'
import { quiet } from './support/quiet.mjs'
import { shuffled } from './support/random.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, size } from './support/table.mjs'

// Time spent writing before the loop may turn.
const SLICE_MS = 0.25
const LONGEST_PHASE_MS = 120_000
const quantiles = [0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1]

const figures = (histogram) => {
  const at = (q) => (q === 1 ? histogram.max : histogram.percentile(100 * q)) / 1e6
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: at(1), curve: quantiles.map(at) }
}

const newClocks = () => ({ ticks: [], waits: createHistogram(), ms: 0 })

/** Of several phases: the median of each figure, and the highest maximum. */
const figuresOfTicks = (ticks) => {
  const medianOf = (figure) => summary(ticks.map((each) => each[figure])).p50
  return {
    p50: medianOf('p50'),
    p99: medianOf('p99'),
    p999: medianOf('p999'),
    max: Math.max(...ticks.map((each) => each.max)),
  }
}

/**
 * Turns the loop while `goOn()` is true, calls `work()` in each turn, and adds to `clocks` how long
 * the loop is blocked.
 */
const phase = async (clocks, work, goOn) => {
  const { waits } = clocks
  // A new one for each phase: it would record the time between two phases as a delay.
  const ticks = monitorEventLoopDelay({ resolution: 1 })
  ticks.enable()
  const started = performance.now()
  let arrival = started + 1
  let now = started
  for (let first = true; first || (goOn() && now - started < LONGEST_PHASE_MS); first = false) {
    work()
    await new Promise((next) => setImmediate(next))
    now = performance.now()
    for (; arrival <= now; arrival++) waits.record(Math.max(1, Math.round((now - arrival) * 1e6)))
  }
  ticks.disable()
  clocks.ticks.push(figures(ticks))
  clocks.ms += now - started
}

/** Returns a function that writes pages in random order, over and over, for one slice per call. */
const sliceWriter = (pages, seed) => {
  const order = shuffled(pages.count, seed)
  let next = 0
  return () => {
    const end = performance.now() + SLICE_MS
    while (performance.now() < end) {
      for (let i = 0; i < 8; i++) pages.write(order[next++ % order.length], next)
    }
  }
}

export const scenarios = {
  async delays({ engine, memoryLimit, byteLength, rounds, quietMs, seed, directory }) {
    const { region, pages } = touchedRegion(byteLength, true)
    const write = sliceWriter(pages, seed)
    const until = (end) => () => performance.now() < end
    const phases = { idle: newClocks(), writing: newClocks(), 'writing, snapshot': newClocks() }
    const outcomes = []
    for (let round = 0; round < rounds; round++) {
      await phase(phases.idle, () => {}, until(performance.now() + quietMs))
      await phase(phases.writing, write, until(performance.now() + quietMs))

      let outcome
      let shot
      const freezeAndWrite = () => {
        if (shot === undefined) {
          shot = snapshot(region, `${directory}/image`, { ...engineOptions[engine], memoryLimit })
          shot.done.then(
            (result) => {
              outcome = { copied: result.pages.copied, pauseMs: result.pauseMs }
            },
            (error) => {
              outcome = { failure: error.code ?? error.message }
            },
          )
        }
        write()
      }
      await phase(phases['writing, snapshot'], freezeAndWrite, () => outcome === undefined)
      shot.abort()
      await shot.done.catch(() => {})
      outcomes.push(outcome ?? { failure: 'not ended in time' })
      await quiet()
    }
    const measured = ({ ms, ticks, waits }) => ({ ms, ticks: figuresOfTicks(ticks), waits: figures(waits) })
    return {
      phases: Object.fromEntries(Object.entries(phases).map(([name, clocks]) => [name, measured(clocks)])),
      outcomes,
    }
  },
}

const measure = async ({ byteLength, smallLimit, rounds, quietMs }, { seed, directory, note, skipped }) => {
  const engines = await usableEngines(directory, skipped)
  const reason = whyNoRoom(directory, { memory: 2.1 * byteLength, disk: byteLength })
  if (reason !== undefined) {
    skipped.push({ what: `a region of ${size(byteLength)}`, reason })
    return []
  }
  const rows = []
  for (const memoryLimit of [byteLength, smallLimit]) {
    for (const engine of engines) {
      const what = `${engine}, memoryLimit ${size(memoryLimit)}`
      if (engine === 'fork' && memoryLimit < byteLength) {
        skipped.push({ what, reason: 'fork cannot wait at the limit' })
        continue
      }
      note(`event-loop: ${what}`)
      const options = { engine, memoryLimit, byteLength, rounds, quietMs, seed, directory }
      const result = await tryScenario(skipped, what, import.meta.url, 'delays', options)
      if (result !== undefined) rows.push({ engine, memoryLimit, ...result })
    }
  }
  return rows
}

const delayTable = (rows, settings) => ({
  title: `Event-loop delay in ms, region of ${size(settings.byteLength)}, huge pages`,
  columns: [
    'engine',
    'memoryLimit',
    'phase',
    'lasts s',
    ...['p50', 'p99', 'p99.9', 'max'].map((each) => `wait ${each}`),
    ...['p50', 'p99', 'p99.9', 'max'].map((each) => `tick ${each}`),
    'p99.9 above idle',
  ],
  rows: rows.flatMap(({ engine, memoryLimit, phases }) =>
    Object.entries(phases).map(([name, { ms, waits, ticks }]) => [
      engine,
      size(memoryLimit),
      name,
      number(ms / 1000),
      ...[waits, ticks].flatMap(({ p50, p99, p999, max }) => [p50, p99, p999, max].map(number)),
      name === 'idle' ? '-' : number(waits.p999 - phases.idle.waits.p999),
    ]),
  ),
  note:
    `Writes in slices of ${SLICE_MS} ms. The snapshot phase contains the pauses of the calls. Ticks include ` +
    `the timer's period of 1 ms. Each row is made of ${settings.rounds} phases: the waits of all of them, and the ` +
    'median of their ticks.',
})

const inRange = (values) => {
  const { min, p50, max } = summary(values)
  return `${number(p50)} (${number(min)}–${number(max)})`
}

const outcomeTable = (rows) => ({
  title: 'How these snapshots ended',
  columns: ['engine', 'memoryLimit', 'pause ms', 'pages copied', 'complete', 'failures'],
  rows: rows.map(({ engine, memoryLimit, outcomes }) => {
    const complete = outcomes.filter(({ failure }) => failure === undefined)
    return [
      engine,
      size(memoryLimit),
      inRange(complete.map(({ pauseMs }) => pauseMs)),
      inRange(complete.map(({ copied }) => copied)),
      `${complete.length} of ${outcomes.length}`,
      [...new Set(outcomes.map(({ failure }) => failure))].filter(Boolean).join(', ') || '-',
    ]
  }),
})

const plot = (rows, memoryLimit, file) => ({
  file,
  title: 'Event-loop delay during a snapshot, with a writer on the same thread',
  subtitle: `wait of a request for the loop's next turn; memoryLimit ${size(memoryLimit)}`,
  x: {
    title: 'share of requests that wait no longer',
    names: quantiles.map((q) => `${+(100 * q).toFixed(2)} %`),
  },
  y: { title: 'wait, ms', log: true, min: 0.01 },
  series: [
    { name: 'idle', points: rows[0].phases.idle.waits.curve },
    ...rows
      .filter((row) => row.memoryLimit === memoryLimit)
      .map(({ engine, phases }) => ({ name: engine, points: phases['writing, snapshot'].waits.curve })),
  ],
})

export const bench = {
  name: 'event-loop',
  title: 'Event-loop delay during a snapshot under heavy writes',
  about: 'Measures how long the loop is held up while the same thread writes all of the frozen memory.',
  settings: {
    full: { byteLength: GIB, smallLimit: 64 * MIB, rounds: 7, quietMs: 1000 },
    quick: { byteLength: 256 * MIB, smallLimit: 16 * MIB, rounds: 1, quietMs: 500 },
  },
  measure,
  tables: ({ rows, settings }) => (rows.length === 0 ? [] : [delayTable(rows, settings), outcomeTable(rows)]),
  plots: ({ rows, settings }) =>
    rows.length === 0
      ? []
      : [
          plot(rows, settings.byteLength, 'event-loop-delay'),
          plot(rows, settings.smallLimit, 'event-loop-delay-small-limit'),
        ],
}

runIfMain(import.meta.url, bench)
