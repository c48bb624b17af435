// Does the pause grow from one snapshot to the next?
//
// Scattered writes during a capture split huge pages, whatever the engine: the next freeze then has
// 512 times as many entries to protect in the split ranges. Here one region is captured several
// times, with random pages written meanwhile: once with the next snapshot immediately after the
// last, and once with a break in between, in which the library or the kernel may merge the huge
// pages again.
import { setTimeout as sleep } from 'node:timers/promises'
import { snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { GIB, HUGE_PAGE, touchedRegion } from './support/pages.mjs'
import { hugePageBytes } from './support/proc-memory.mjs'
import { shuffled } from './support/random.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { number, ratio, size } from './support/table.mjs'

export const scenarios = {
  async sequence({ engine, byteLength, snapshots, gapMs, seed, directory }) {
    const without = hugePageBytes()
    const { region, pages } = touchedRegion(byteLength, true)
    const hugeShare = () => (hugePageBytes() - without) / byteLength
    // On average four pages in every huge page, so that hardly any is spared.
    const writes = (4 * byteLength) / HUGE_PAGE
    const steps = []
    for (let i = 0; i < snapshots; i++) {
      const before = hugeShare()
      const started = performance.now()
      const shot = snapshot(region, `${directory}/image`, {
        ...engineOptions[engine],
        memoryLimit: byteLength,
        durable: false,
      })
      const pauseMs = performance.now() - started
      for (const page of shuffled(pages.count, seed + i).subarray(0, writes)) pages.write(page, i)
      await shot.done
      steps.push({ pauseMs, before, after: hugeShare() })
      if (i + 1 < snapshots) await sleep(gapMs)
    }
    return steps
  },
}

const measure = async (settings, { seed, directory, note, skipped }) => {
  const { byteLength, snapshots, settleMs, rounds } = settings
  const engines = await usableEngines(directory, skipped)
  const reason = whyNoRoom(directory, { memory: 1.2 * byteLength, disk: 2 * byteLength })
  if (reason !== undefined) {
    skipped.push({ what: `a region of ${size(byteLength)}`, reason })
    return []
  }
  const rows = engines.map((engine) => ({ engine, atOnce: [], later: [] }))
  for (let round = 0; round < rounds; round++) {
    for (const row of rows) {
      const what = `${row.engine}, round ${round + 1} of ${rounds}`
      note(`second-snapshot: ${what}`)
      const options = { engine: row.engine, byteLength, snapshots, seed: seed + round, directory }
      const run = (gapMs) =>
        tryScenario(skipped, what, import.meta.url, 'sequence', { ...options, gapMs }).then(
          (steps) => steps ?? [],
        )
      row.atOnce.push(await run(0))
      row.later.push(await run(settleMs))
    }
  }
  return rows
}

/** For one step: the minimum pause over all rounds, and the mean share of huge pages before it. */
const stepOf = (sequences, step) => {
  const found = sequences.map((steps) => steps[step]).filter((each) => each !== undefined)
  return {
    pauseMs: Math.min(...found.map(({ pauseMs }) => pauseMs)),
    before: found.reduce((sum, { before }) => sum + before, 0) / found.length,
  }
}

const percent = (share) => (Number.isFinite(share) ? `${Math.round(100 * share)} %` : '-')

const stepRows = (row, fork, snapshots) =>
  Array.from({ length: snapshots }, (_, step) => [
    row.engine,
    String(step + 1),
    ...['atOnce', 'later'].flatMap((gap) => {
      const { pauseMs, before } = stepOf(row[gap], step)
      const first = stepOf(row[gap], 0).pauseMs
      const base = fork && stepOf(fork[gap], step).pauseMs
      return [percent(before), number(pauseMs), ratio(pauseMs, first), ratio(pauseMs, base)]
    }),
  ])

const sequenceTable = (rows, { byteLength, settleMs, rounds, snapshots }) => {
  const later = `after ${settleMs / 1000} s`
  return {
    title: `Pause from snapshot to snapshot, region of ${size(byteLength)} in huge pages`,
    columns: [
      'engine',
      'snapshot',
      ...['at once', later].flatMap((gap) => [`${gap}: huge`, 'pause ms', 'to first', 'to fork']),
    ],
    rows: rows.flatMap((row) =>
      stepRows(
        row,
        rows.find(({ engine }) => engine === 'fork'),
        snapshots,
      ),
    ),
    note:
      `Least pause of ${rounds === 1 ? 'one round' : `${rounds} rounds`}; "huge" is the share of the region ` +
      'in huge pages just before the call. Four writes per huge page during each capture.',
  }
}

const plot = (rows, { byteLength, snapshots }, gap, subtitle, file) => ({
  file,
  title: 'Pause from snapshot to snapshot of the same region',
  subtitle: `${size(byteLength)} in huge pages, scattered writes during each; ${subtitle}`,
  x: { title: 'snapshot', names: Array.from({ length: snapshots }, (_, step) => String(step + 1)) },
  y: { title: 'pause, ms', log: true },
  series: rows.map((row) => ({
    name: row.engine,
    points: Array.from({ length: snapshots }, (_, step) => stepOf(row[gap], step).pauseMs),
  })),
})

export const bench = {
  name: 'second-snapshot',
  title: 'The pause of later snapshots of the same region',
  about: 'Captures one region several times with scattered writes, and watches pause and huge pages.',
  settings: {
    full: { byteLength: GIB, snapshots: 5, settleMs: 3000, rounds: 2 },
    quick: { byteLength: GIB / 4, snapshots: 3, settleMs: 500, rounds: 1 },
  },
  measure,
  tables: ({ rows, settings }) => (rows.length === 0 ? [] : [sequenceTable(rows, settings)]),
  plots: ({ rows, settings }) =>
    rows.length === 0
      ? []
      : [
          plot(rows, settings, 'atOnce', 'the next one at once', 'second-snapshot-at-once'),
          plot(
            rows,
            settings,
            'later',
            `the next one ${settings.settleMs / 1000} s later`,
            'second-snapshot-later',
          ),
        ],
}

runIfMain(import.meta.url, bench)
