// How do the pause, the save and the restore grow with the memory, and what does that predict for
// 35 and 350 GB?
//
// One size at a time, each in its own process: each engine in turn freezes touched memory in huge
// pages and aborts immediately, to measure the pause. Then the memory is saved completely and
// restored, to measure the rest. A straight line is fitted through the points of each kind. Beyond
// the largest measured size it is an extrapolation; the residual tells how far the points are from
// the line.
import { rm } from 'node:fs/promises'
import { Region, restore, snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { dropCache } from './support/disk.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { fitLine } from './support/line-fit.mjs'
import { madeData } from './support/made-data.mjs'
import { GIB, MIB, Pages } from './support/pages.mjs'
import { quiet } from './support/quiet.mjs'
import { availableMemory, whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, size } from './support/table.mjs'

const FILL_PIECE = 16 * MIB
const PREDICTED_GB = [35, 350]
// In order of preference: the save is measured with the first of these that works, and with fork.
const inProcess = ['userfaultfd signal', 'mprotect', 'userfaultfd thread']

const filledRegion = (byteLength, seed) => {
  const region = Region.allocate(byteLength)
  const fill = madeData(seed)
  for (let at = 0; at < byteLength; at += FILL_PIECE) fill(new Uint8Array(region.buffer, at, FILL_PIECE))
  return { region, pages: new Pages(region) }
}

/** Pauses in ms, by engine. The first round runs cold code and does not count. */
const pausesOf = async ({ region, pages }, engines, rounds, path) => {
  const pauses = Object.fromEntries(engines.map((engine) => [engine, []]))
  for (let round = 0; round <= rounds; round++) {
    for (let turn = 0; turn < engines.length; turn++) {
      const engine = engines[(round + turn) % engines.length]
      await quiet()
      pages.writeAll(round)
      const started = performance.now()
      const shot = snapshot(region, path, engineOptions[engine])
      const ms = performance.now() - started
      shot.abort()
      await shot.done.catch(() => {})
      if (round > 0) pauses[engine].push(ms)
    }
  }
  return pauses
}

const restoreOnce = async (path, options) => {
  await dropCache(path)
  const started = performance.now()
  const restored = await restore(path, options)
  const { buffer } = restored.regions.main
  const byte = new Uint8Array(buffer, Math.floor(buffer.byteLength / 2), 1)[0]
  const ms = performance.now() - started
  restored.close()
  return { ms, byte }
}

export const scenarios = {
  async grow({ byteLength, engines, savers, pauseRounds, rounds, seed, directory }) {
    const path = `${directory}/image`
    const memory = filledRegion(byteLength, seed)
    const pauses = await pausesOf(memory, engines, pauseRounds, path)
    const saves = Object.fromEntries(savers.map((engine) => [engine, []]))
    const firstReads = []
    const verified = []
    for (let round = 0; round < rounds; round++) {
      for (const engine of savers) {
        await quiet()
        const started = performance.now()
        await snapshot(memory.region, path, engineOptions[engine]).done
        saves[engine].push(performance.now() - started)
      }
      firstReads.push((await restoreOnce(path, { verify: false })).ms)
      verified.push((await restoreOnce(path, { mode: 'map' })).ms)
    }
    await rm(path, { force: true })
    memory.region.close()
    return { pauses, saves, firstReads, verified }
  },
}

/** Sizes from 256 MiB on, each twice the previous one, and finally the largest. */
const sizesUpTo = (largest) => {
  const sizes = []
  for (let byteLength = GIB / 4; byteLength < largest; byteLength *= 2) sizes.push(byteLength)
  return [...sizes, largest]
}

const measure = async (settings, { seed, directory, note, skipped }) => {
  const engines = await usableEngines(directory, skipped)
  const savers = [inProcess.find((engine) => engines.includes(engine)), 'fork'].filter((engine) =>
    engines.includes(engine),
  )
  // At most half of the available memory, since the restored copy of the file is also in memory, as
  // page cache.
  const most = Math.floor(availableMemory() / 2 / (GIB / 4)) * (GIB / 4)
  const largest = Math.min(settings.largestGiB * GIB, Math.max(GIB / 4, most))
  if (largest < settings.largestGiB * GIB) {
    const reason = `half of the memory available is ${size(availableMemory() / 2)}`
    skipped.push({ what: `regions up to ${settings.largestGiB} GiB`, reason })
  }
  const rows = []
  for (const byteLength of sizesUpTo(largest)) {
    const what = size(byteLength)
    const reason = whyNoRoom(directory, { memory: byteLength, disk: 2 * byteLength })
    if (reason !== undefined) {
      skipped.push({ what, reason })
      continue
    }
    note(`scaling: ${what}`)
    const options = { ...settings, byteLength, engines, savers, seed, directory }
    const limits = { timeoutMs: 900_000 }
    const result = await tryScenario(skipped, what, import.meta.url, 'grow', options, limits)
    if (result === undefined) continue
    const kinds = [
      ...Object.entries(result.pauses).map(([engine, ms]) => [`pause, ${engine}`, ms]),
      ...Object.entries(result.saves).map(([engine, ms]) => [`write-out, ${engine}`, ms]),
      ['restore to first read', result.firstReads],
      ['restore with verify', result.verified],
    ]
    for (const [kind, ms] of kinds) rows.push({ kind, byteLength, ms: summary(ms) })
  }
  return rows
}

const kindsOf = (rows) => [...new Set(rows.map(({ kind }) => kind))]

/** The minimum for pauses, which are short and easily disturbed; the median for everything else. */
const figureOf = ({ kind, ms }) => (kind.startsWith('pause') ? ms.min : ms.p50)

const pointsOf = (rows, kind) =>
  rows.filter((row) => row.kind === kind).map((row) => [row.byteLength / 1e9, figureOf(row)])

/**
 * For a result: the value of the line through the points of a kind, in ms; undefined if there is no
 * line.
 */
export const predicted = (rows, kind, byteLength) => {
  const points = pointsOf(rows, kind)
  return points.length < 2 ? undefined : fitLine(points).at(byteLength / 1e9)
}

const sizesTable = (rows) => {
  const sizes = [...new Set(rows.map(({ byteLength }) => byteLength))]
  return {
    title: 'Growth with the memory, in ms',
    columns: ['what', ...sizes.map(size)],
    rows: kindsOf(rows).map((kind) => [
      kind,
      ...sizes.map((byteLength) => {
        const row = rows.find((each) => each.kind === kind && each.byteLength === byteLength)
        return row === undefined ? '-' : number(figureOf(row))
      }),
    ]),
    note: 'Pauses: the least of the rounds. All else: medians. Restored from a file that is not in the page cache.',
  }
}

const linesTable = (rows) => ({
  title: 'Straight lines through it, and what they say about more memory',
  columns: [
    'what',
    'sizes',
    'ms per GB',
    'ms at 0',
    'residual ms',
    ...PREDICTED_GB.map((gb) => `${gb} GB: ms`),
  ],
  rows: kindsOf(rows).map((kind) => {
    const points = pointsOf(rows, kind)
    if (points.length < 2) return [kind, String(points.length), '-', '-', '-', ...PREDICTED_GB.map(() => '-')]
    const { slope, intercept, residual, at } = fitLine(points)
    const figures = [slope, intercept, residual, ...PREDICTED_GB.map((gb) => Math.max(0, at(gb)))]
    return [kind, String(points.length), ...figures.map(number)]
  }),
  note:
    'Least squares. GB are 10^9 bytes. The residual is the standard deviation of the points from the line; where the ' +
    'slope is not far above it, the prediction says little more than that it is small.',
})

const plot = (rows, kinds, { file, title, unit, divisor }) => ({
  file,
  title,
  subtitle: 'both axes logarithmic',
  x: { title: 'memory', log: true, base: 2, label: (mib) => size(mib * MIB) },
  y: { title: `${title.split(':')[0].toLowerCase()}, ${unit}`, log: true },
  series: kinds.map((kind) => ({
    name: kind,
    look: kind.replace(/^.*, /, ''),
    points: rows
      .filter((row) => row.kind === kind)
      .map((row) => [row.byteLength / MIB, figureOf(row) / divisor]),
  })),
})

const plots = ({ rows }) => {
  const kinds = kindsOf(rows)
  if (kinds.length === 0) return []
  const isPause = (kind) => kind.startsWith('pause')
  return [
    plot(rows, kinds.filter(isPause), {
      file: 'scaling-pause',
      title: 'Pause: growth with the memory',
      unit: 'ms',
      divisor: 1,
    }),
    plot(
      rows,
      kinds.filter((kind) => !isPause(kind)),
      { file: 'scaling-time', title: 'Time: writing out and restoring', unit: 's', divisor: 1000 },
    ),
  ]
}

export const bench = {
  name: 'scaling',
  title: 'Growth with the memory',
  about: 'Pause, write-out and restore from 256 MiB to 12 GiB, and straight lines to 35 and 350 GB.',
  settings: {
    full: { largestGiB: 12, pauseRounds: 5, rounds: 1 },
    quick: { largestGiB: 1, pauseRounds: 2 },
  },
  measure,
  tables: ({ rows }) => (rows.length === 0 ? [] : [sizesTable(rows), linesTable(rows)]),
  plots,
}

runIfMain(import.meta.url, bench)
