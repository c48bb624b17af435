// How long does snapshot() block the calling thread, and how does that grow with the region?
//
// Every engine freezes the same region in turns, in an order that rotates with each round. A
// capture is aborted as soon as the call has returned, since only the freeze matters. Between two
// captures every page is written once, as a service would have done, so that no engine finds page
// tables that the previous one has protected.
import { Region, snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { GIB, MIB, touchedRegion } from './support/pages.mjs'
import { hugePageBytes } from './support/proc-memory.mjs'
import { quiet } from './support/quiet.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, ratio, size } from './support/table.mjs'

const kinds = {
  'huge pages': { hugePages: true, touched: true },
  '4 KiB pages': { hugePages: false, touched: true },
  'never touched': { hugePages: true, touched: false },
}

const pause = async (region, engine, directory) => {
  const started = performance.now()
  const shot = snapshot(region, `${directory}/image`, engineOptions[engine])
  const ms = performance.now() - started
  shot.abort()
  await shot.done.catch(() => {})
  await quiet()
  return ms
}

/** Calls `use(engine)` for each engine in each round; the order rotates by one per round. */
const inTurns = async (engines, rounds, use) => {
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < engines.length; turn++) {
      await use(engines[(round + turn) % engines.length], round)
    }
  }
}

export const scenarios = {
  async pauses({ byteLength, hugePages, touched, engines, rounds, directory }) {
    const pauses = Object.fromEntries(engines.map((engine) => [engine, []]))
    const keep = (engine, round, ms) => round > 0 && pauses[engine].push(ms) // the first round runs cold code
    if (!touched) {
      await inTurns(engines, rounds + 1, async (engine, round) => {
        const region = Region.allocate(byteLength, { hugePages })
        keep(engine, round, await pause(region, engine, directory))
        region.close()
      })
      return { pauses }
    }
    const before = hugePageBytes()
    const { region, pages } = touchedRegion(byteLength, hugePages)
    const hugeAtFirst = hugePageBytes() - before
    await inTurns(engines, rounds + 1, async (engine, round) => {
      pages.writeAll(round)
      keep(engine, round, await pause(region, engine, directory))
    })
    return { pauses, hugeAtFirst, hugeAtLast: hugePageBytes() - before }
  },
}

/** Sizes from 256 MiB on, each twice the previous one. */
const sizesUpTo = (largest) => {
  const sizes = []
  for (let byteLength = GIB / 4; byteLength <= largest; byteLength *= 2) sizes.push(byteLength)
  return sizes
}

const measure = async ({ largestGiB, rounds }, { directory, note, skipped }) => {
  const engines = await usableEngines(directory, skipped)
  const rows = []
  for (const byteLength of sizesUpTo(largestGiB * GIB)) {
    for (const [kind, { hugePages, touched }] of Object.entries(kinds)) {
      const what = `${size(byteLength)}, ${kind}`
      // An untouched region takes at most its page tables; with 4 KiB pages, touched ones take
      // theirs twice.
      const reason = whyNoRoom(directory, { memory: touched ? byteLength * 1.01 : byteLength / 256 })
      if (reason !== undefined) {
        skipped.push({ what, reason })
        continue
      }
      note(`freeze: ${what}`)
      const options = { byteLength, hugePages, touched, engines, rounds, directory }
      const result = await tryScenario(skipped, what, import.meta.url, 'pauses', options)
      if (result === undefined) continue
      const { pauses, ...huge } = result
      for (const engine of engines) {
        rows.push({ kind, byteLength, engine, ms: summary(pauses[engine]), ...huge })
      }
    }
  }
  return rows
}

const of = (rows, kind) => rows.filter((row) => row.kind === kind)
const sameAs = (rows, row, engine) =>
  rows.find((each) => each.kind === row.kind && each.byteLength === row.byteLength && each.engine === engine)

const pauseTable = (rows, kind) => ({
  title: `Pause of snapshot() in ms, region: ${kind}`,
  columns: ['size', 'engine', 'min', 'median', 'max', 'median per GiB', 'median to fork', 'min to fork'],
  rows: of(rows, kind).map((row) => {
    const base = sameAs(rows, row, 'fork')?.ms
    const { min, p50, max } = row.ms
    return [
      size(row.byteLength),
      row.engine,
      number(min),
      number(p50),
      number(max),
      number((p50 * GIB) / row.byteLength),
      ratio(p50, base?.p50),
      ratio(min, base?.min),
    ]
  }),
  note: hugeNote(of(rows, kind)),
})

const hugeNote = (rows) => {
  const share = (bytes, row) => `${Math.round((100 * bytes) / row.byteLength)} %`
  const shares = new Map(
    rows
      .filter(({ hugeAtFirst }) => hugeAtFirst !== undefined)
      .map((row) => [
        size(row.byteLength),
        `${size(row.byteLength)}: ${share(row.hugeAtFirst, row)} → ${share(row.hugeAtLast, row)}`,
      ]),
  )
  if (shares.size === 0) return undefined
  return `In huge pages before the first and after the last capture: ${[...shares.values()].join('; ')}.`
}

/**
 * Cost of one additional GiB, without the fixed cost of a call: from the smallest to the largest
 * region.
 */
const growthTable = (rows) => {
  const growth = (kind, engine) => {
    const sizes = of(rows, kind).filter((row) => row.engine === engine)
    const [first, last] = [sizes[0], sizes.at(-1)]
    if (first === undefined || first === last) return undefined
    return ((last.ms.min - first.ms.min) * GIB) / (last.byteLength - first.byteLength)
  }
  const engines = [...new Set(rows.map(({ engine }) => engine))]
  const names = Object.keys(kinds)
  return {
    title: 'What one more GiB adds to the pause, in ms (minima, smallest to largest region)',
    columns: ['engine', ...names.flatMap((kind) => [kind, 'to fork'])],
    rows: engines.map((engine) => [
      engine,
      ...names.flatMap((kind) => [
        number(growth(kind, engine)),
        ratio(growth(kind, engine), growth(kind, 'fork')),
      ]),
    ]),
  }
}

const plot = (rows, kind, file) => ({
  file,
  title: `Pause of snapshot(): ${kind}`,
  subtitle: 'least of all rounds; both axes logarithmic',
  x: { title: 'size of the region', log: true, base: 2, label: (mib) => size(mib * MIB) },
  y: { title: 'pause, ms', log: true },
  series: Object.keys(engineOptions).map((engine) => ({
    name: engine,
    points: of(rows, kind)
      .filter((row) => row.engine === engine)
      .map(({ byteLength, ms }) => [byteLength / MIB, ms.min]),
  })),
})

export const bench = {
  name: 'freeze',
  title: 'Pause of snapshot() against the size of the region',
  about: 'Freezes regions of growing size with every engine in turns and aborts at once.',
  settings: {
    full: { largestGiB: 8, rounds: 9 },
    quick: { largestGiB: 1, rounds: 4 },
  },
  measure,
  tables: ({ rows }) => [...Object.keys(kinds).map((kind) => pauseTable(rows, kind)), growthTable(rows)],
  plots: ({ rows }) => [
    plot(rows, 'huge pages', 'pause-huge-pages'),
    plot(rows, '4 KiB pages', 'pause-4k-pages'),
    plot(rows, 'never touched', 'pause-never-touched'),
  ],
}

runIfMain(import.meta.url, bench)
