// The performance goals of this library, and the values that a run has measured:
//
//   node bench/goals.mjs bench/results/<date>/results.json      (without a file: the newest run)
//
// `npm run bench` puts the same table at the top of its report. Values that were not part of the
// run are marked as such, never taken from another run.
import { readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cpuPerGiB, ratiosOf } from './pairs.mjs'
import { predicted } from './scaling.mjs'
import { GIB, MIB } from './support/pages.mjs'
import { number, renderTable, size } from './support/table.mjs'
import { pauseMs, restoreMs, saveSpeed } from './versus.mjs'

const inProcess = ['mprotect', 'userfaultfd thread', 'userfaultfd signal']
const FIRST_READ_BYTES = 4 * GIB

const least = (values) => (values.length === 0 ? undefined : Math.min(...values))
const most = (values) => {
  const known = values.filter(Number.isFinite)
  return known.length === 0 ? undefined : Math.max(...known)
}

/** The rows of a bench; undefined if it was not part of the run, or failed. */
const rowsOf = (results, name) => results[name]?.rows

/**
 * Milliseconds that one additional GiB adds to the pause of touched memory in huge pages: from the
 * smallest to the largest region.
 */
const pausePerGiB = (results, engine) => {
  const rows = rowsOf(results, 'freeze')?.filter((row) => row.engine === engine && row.kind === 'huge pages')
  if (rows === undefined || rows.length < 2) return undefined
  const [first, last] = [rows[0], rows.at(-1)]
  return ((last.ms.min - first.ms.min) * GIB) / (last.byteLength - first.byteLength)
}

/** The largest factor by which another region and a JS heap lengthen the pause. */
const growthBesideOthers = (results) => {
  const states = rowsOf(results, 'independence')?.states
  if (states === undefined || states.length < 2) return undefined
  const engines = Object.keys(states[0].pauses)
  return most(engines.map((engine) => least(states.at(-1).pauses[engine]) / least(states[0].pauses[engine])))
}

const versusOf = (results) => rowsOf(results, 'versus')

/** The best value of any of our engines in `versus`. */
const bestSpeed = (rows) =>
  most(
    rows.names
      .filter((name) => name.startsWith('stillframe ') && !name.includes('zstd'))
      .map((name) => saveSpeed(rows, name)),
  )

const speedTo = (results, other) => {
  const rows = versusOf(results)
  return rows && bestSpeed(rows) / saveSpeed(rows, other)
}

const pauseToRedis = (results) => {
  const rows = versusOf(results)
  return rows && pauseMs(rows, rows.base) / pauseMs(rows, 'Redis BGSAVE, plain')
}

const memoryAboveLimit = (results) => {
  const rows = rowsOf(results, 'memory')?.filter(({ engine }) => inProcess.includes(engine))
  return rows && most(rows.map(({ peakBytes, memoryLimit }) => (peakBytes - memoryLimit) / MIB))
}

const firstWrite = (results, engine) =>
  rowsOf(results, 'first-write')?.find((row) => row.kind === 'huge pages' && row.what === engine)?.us

const firstWriteToFork = (results, engine) =>
  firstWrite(results, engine)?.p50 / firstWrite(results, 'fork')?.p50

/**
 * p99.9 of the request waits, in ms above those of the idle loop, with a limit that never stops
 * writers.
 */
const delayAboveIdle = (results) => {
  const { rows, settings } = results['event-loop'] ?? {}
  const delays = rows
    ?.filter(({ memoryLimit }) => memoryLimit === settings.byteLength)
    .map(({ phases }) => phases['writing, snapshot'].waits.p999 - phases.idle.waits.p999)
  return delays && most(delays)
}

/** The value measured with 4 GiB, or else the prediction of the line through smaller sizes. */
const firstRead = (results) => {
  const rows = rowsOf(results, 'scaling')
  const exact = rows?.find(
    ({ kind, byteLength }) => kind === 'restore to first read' && byteLength === FIRST_READ_BYTES,
  )
  return exact?.ms.p50 ?? (rows && predicted(rows, 'restore to first read', FIRST_READ_BYTES))
}

const isFirstReadMeasured = (results) =>
  rowsOf(results, 'scaling')?.some(({ byteLength }) => byteLength === FIRST_READ_BYTES)

const verifiedToDisk = (results) => {
  const rows = versusOf(results)
  const best =
    rows && least(['map', 'copy'].map((mode) => restoreMs(rows, `stillframe ${mode}, verify true`)))
  return rows && restoreMs(rows, 'dd read') / best
}

const heapWays = (results, way) => rowsOf(results, 'heap')?.ways.filter((row) => row.way === way) ?? []
const heapPause = ({ runs }) => least(runs.map((run) => run.pauseMs))

/** The smallest of the ratios, over all heaps that both methods have written. */
const heapPauseRatio = (results) =>
  least(
    heapWays(results, 'writeHeapSnapshot, forked').flatMap((own) => {
      const other = heapWays(results, 'v8.writeHeapSnapshot').find((row) => row.heapBytes === own.heapBytes)
      return other === undefined ? [] : [heapPause(other) / heapPause(own)]
    }),
  )

/**
 * What a job does in the pause besides the fork itself and the call, in ms, for the heap closest to
 * 200 MB.
 */
const heapSearch = (results) => {
  const distance = ({ runs }) => Math.abs(runs[0].heapUsed - 200e6)
  const [row] = heapWays(results, 'snapshotState, forked').sort((a, b) => distance(a) - distance(b))
  return row && least(row.runs.map(({ pause }) => pause.parkMs + pause.mappingsMs + pause.flipMs))
}

/** For the largest heap, since small ones show the fixed cost of a call. */
const heapPausePerGB = (results) => {
  const row = heapWays(results, 'writeHeapSnapshot, forked').at(-1)
  return row && heapPause(row) / (row.runs[0].heapUsed / 1e9)
}

/** The largest and the smallest region with recorded writes, by page size. */
const trackedOf = (results, hugePages) => {
  const rows = rowsOf(results, 'deltas')?.tracked.filter((row) => row.hugePages === hugePages) ?? []
  return rows.length < 2 ? undefined : { smallest: rows[0], largest: rows.at(-1) }
}
const trackedGoals = [true, false].flatMap((hugePages) => {
  const pages = hugePages ? 'huge pages' : '4 KiB pages'
  const of = (value) => (results) => {
    const found = trackedOf(results, hugePages)
    return found && value(found.largest, found.smallest)
  }
  const bench = 'deltas'
  return [
    {
      ...{ what: `recorded delta, ${pages}: pause`, bench, unit: 'ms', most: 0.3 },
      of: of(({ delta }) => delta.pauseMs),
    },
    {
      ...{
        what: `recorded delta, ${pages}: pause to that of the smallest region`,
        bench,
        unit: '×',
        most: 1.2,
      },
      of: of(({ delta }, smallest) => delta.pauseMs / smallest.delta.pauseMs),
    },
    {
      ...{ what: `recorded delta, ${pages}: duration to a full one`, bench, unit: '×', most: 0.03 },
      of: of(({ delta, full }) => delta.durationMs / full.durationMs),
    },
    {
      ...{ what: `recorded delta, ${pages}: file to the changed pages`, bench, unit: '×', most: 1.1 },
      of: of(({ delta }) => delta.allocatedBytes / delta.changedBytes),
    },
  ]
})

/** One frame per second, by method of finding the changes. */
const steadyGoals = [true, false].flatMap((recorded) => {
  const what = `a frame each second, ${recorded ? 'recorded' : 'compared by content'}`
  const of = (value) => (results) => {
    const row = rowsOf(results, 'deltas')?.steady.find((each) => each.recorded === recorded)
    return row && value(row)
  }
  return [
    {
      ...{ what: `${what}: pause of the last tenth to the first`, bench: 'deltas', unit: '×', most: 1.3 },
      of: of(({ firstPauseMs, lastPauseMs }) => lastPauseMs / firstPauseMs),
    },
    {
      ...{ what: `${what}: speed of the writer to alone`, bench: 'deltas', unit: '×', least: 0.9 },
      of: of(({ writerToAlone }) => writerToAlone),
    },
    {
      ...{ what: `${what}: huge pages whole again after`, bench: 'deltas', unit: 'ms', most: 3000 },
      of: of(({ wholeAgainMs }) => wholeAgainMs ?? Number.POSITIVE_INFINITY),
    },
  ]
})

/** A chain compared with one full file, where newer files have their content in large pieces. */
const chainOf = (value) => (results) => {
  const row = rowsOf(results, 'deltas')?.chains[0]
  return row && value(row)
}
const chainGoals = [
  {
    ...{ what: 'chain of deltas restored, copy to one full file', bench: 'deltas', unit: '×', most: 1.2 },
    of: chainOf((row) => row['chain copy'] / row['full copy']),
  },
  {
    ...{ what: 'chain of deltas restored, map to the first read', bench: 'deltas', unit: 'ms', most: 50 },
    of: chainOf((row) => row['chain map']),
  },
]

/** The rows of `pairs` for one kind of work. */
const pairRows = (results, isWanted) => (rowsOf(results, 'pairs') ?? []).filter(isWanted)
/** The worst of their median ratios to dd. */
const worstToDisk = (isWanted) => (results) =>
  least(pairRows(results, isWanted).map((row) => ratiosOf(row).p50))
const isWrite = ({ name }) => name === 'write'
const pairGoals = [
  {
    ...{
      what: 'write-out to dd, pair by pair (worst engine and size)',
      bench: 'pairs',
      unit: '×',
      least: 0.95,
    },
    of: worstToDisk(isWrite),
  },
  {
    ...{
      what: 'checked copy restored to dd, pair by pair (worst size)',
      bench: 'pairs',
      unit: '×',
      least: 0.9,
    },
    of: worstToDisk(({ what }) => what === 'restored as a checked copy'),
  },
  {
    ...{
      what: 'checked copy of zstd restored to dd, pair by pair (worst size)',
      bench: 'pairs',
      unit: '×',
      least: 0.8,
    },
    of: worstToDisk(({ what }) => what === 'restored as a checked copy, zstd'),
  },
  {
    ...{
      what: 'processor time of a capture per GiB written (worst engine and size)',
      bench: 'pairs',
      unit: 's',
      most: 0.15,
    },
    of: (results) => most(pairRows(results, isWrite).map(cpuPerGiB)),
  },
]

/** Our method of sending to a bucket, or of fetching from it. */
const storageRow = (results, scenario) =>
  rowsOf(results, 'storage')?.find((row) => row.scenario === scenario && row.way === 'stillframe')
const lazyRow = (results) => rowsOf(results, 'storage')?.find(({ firstMs }) => firstMs !== undefined)
const lazyGoals = [
  {
    ...{ what: 'lazy restore: first touch, above one request', bench: 'storage', unit: 'ms', most: 100 },
    of: (results) => lazyRow(results) && lazyRow(results).firstMs - lazyRow(results).requestMs,
  },
  {
    ...{ what: 'lazy restore: rate of all of it to an eager one', bench: 'storage', unit: '×', least: 0.9 },
    of: (results) => lazyRow(results)?.toEager,
  },
]
const storageGoals = [
  ['send', 'copy of a frame into a bucket'],
  ['fetch', 'restore from a bucket'],
].flatMap(([scenario, what]) => [
  {
    ...{ what: `${what}: rate to that of the SDK with a file`, bench: 'storage', unit: '×', least: 0.9 },
    of: (results) => storageRow(results, scenario)?.toSdk.p50,
  },
  {
    ...{ what: `${what}: extra memory`, bench: 'storage', unit: 'MiB', most: 128 },
    of: (results) => storageRow(results, scenario)?.peakBytes / MIB,
  },
])

/** `most` or `least` is the goal, `of` returns the measured value, `bench` names its benchmark. */
const goals = [
  ...inProcess.map((engine) => ({
    what: `pause, ${engine}, one more GiB in huge pages`,
    bench: 'freeze',
    unit: 'ms',
    most: 0.5,
    of: (results) => pausePerGiB(results, engine),
  })),
  {
    what: 'pause, a region of one page, second and later captures (worst in-process engine)',
    bench: 'one-page',
    unit: 'ms',
    most: 0.15,
    of: (results) =>
      most(
        (rowsOf(results, 'one-page') ?? [])
          .filter(({ engine }) => inProcess.includes(engine))
          .map(({ laterMs }) => laterMs.p50),
      ),
  },
  {
    what: 'pause, fork, one more GiB in huge pages',
    bench: 'freeze',
    unit: 'ms',
    most: 2,
    of: (results) => pausePerGiB(results, 'fork'),
  },
  {
    what: 'pause beside other memory of the process, to alone (worst engine)',
    bench: 'independence',
    unit: '×',
    most: 1.25,
    of: growthBesideOthers,
  },
  {
    what: "pause to that of Redis's BGSAVE, same bytes",
    bench: 'versus',
    unit: '×',
    most: 1,
    of: pauseToRedis,
  },
  ...pairGoals,
  {
    what: 'write-out to Redis BGSAVE, as it comes: compressed (best engine)',
    bench: 'versus',
    unit: '×',
    least: 6,
    of: (results) => speedTo(results, 'Redis BGSAVE, compressed'),
  },
  {
    what: 'extra memory above memoryLimit while all is rewritten (worst in-process engine)',
    bench: 'memory',
    unit: 'MiB',
    most: 16,
    of: memoryAboveLimit,
  },
  {
    what: 'first write, userfaultfd signal, p50 to fork',
    bench: 'first-write',
    unit: '×',
    most: 1.5,
    of: (results) => firstWriteToFork(results, 'userfaultfd signal'),
  },
  {
    what: 'first write, userfaultfd signal, p99',
    bench: 'first-write',
    unit: 'µs',
    most: 50,
    of: (results) => firstWrite(results, 'userfaultfd signal')?.p99,
  },
  {
    what: 'first write, mprotect, p50 to fork',
    bench: 'first-write',
    unit: '×',
    most: 5,
    of: (results) => firstWriteToFork(results, 'mprotect'),
  },
  {
    what: 'event-loop delay under heavy writes, p99.9 above idle (worst engine)',
    bench: 'event-loop',
    unit: 'ms',
    most: 5,
    of: delayAboveIdle,
  },
  {
    what: `restore to first read, ${size(FIRST_READ_BYTES)}, verify false`,
    bench: 'scaling',
    unit: 'ms',
    most: 20,
    of: firstRead,
    remark: (results) => (isFirstReadMeasured(results) ? '' : ' (by the line through smaller sizes)'),
  },
  {
    what: 'restore with verify to dd reading (best mode)',
    bench: 'versus',
    unit: '×',
    least: 0.8,
    of: verifiedToDisk,
  },
  {
    what: 'writeHeapSnapshot: pause in process to ours (least of all heaps)',
    bench: 'heap',
    unit: '×',
    least: 200,
    of: heapPauseRatio,
  },
  {
    what: 'writeHeapSnapshot: pause per GB of heap (largest heap)',
    bench: 'heap',
    unit: 'ms',
    most: 60,
    of: heapPausePerGB,
  },
  {
    what: 'snapshotState: park, mappings and flip (heap closest to 200 MB)',
    bench: 'heap',
    unit: 'ms',
    most: 3,
    of: heapSearch,
  },
  ...trackedGoals,
  ...steadyGoals,
  ...chainGoals,
  ...storageGoals,
  ...lazyGoals,
]

const withUnit = (text, unit) => (unit === '×' ? `×${text}` : `${text} ${unit}`)

const rowOf = (goal, results) => {
  const { what, bench, unit, of, remark = () => '' } = goal
  const wanted =
    goal.most === undefined
      ? `at least ${withUnit(goal.least, unit)}`
      : `at most ${withUnit(goal.most, unit)}`
  if (results[bench] === undefined) return [what, wanted, `${bench} was not part of this run`, '-']
  if (results[bench].failed !== undefined) return [what, wanted, `${bench} failed`, '-']
  const value = of(results)
  if (value === undefined || !Number.isFinite(value)) return [what, wanted, `not measured by ${bench}`, '-']
  const isReached = goal.most === undefined ? value >= goal.least : value <= goal.most
  return [what, wanted, `${withUnit(number(value), unit)}${remark(results)}`, isReached ? 'yes' : 'NO']
}

/** The table for the results of a run, by name of the bench; only of bench `only`, if given. */
export const goalsTable = (results, only) => ({
  title: 'Numbers to reach',
  columns: ['what', 'goal', 'measured', 'reached'],
  rows: goals.filter(({ bench }) => bench === (only ?? bench)).map((goal) => rowOf(goal, results)),
  note: 'From this run alone. A quick run, or a busy machine, says little about the figures that are near their goal.',
})

const newestResults = () => {
  const directory = fileURLToPath(new URL('./results', import.meta.url))
  const newest = readdirSync(directory).sort().at(-1)
  if (newest === undefined) throw new Error('there are no results: run `npm run bench`')
  return join(directory, newest, 'results.json')
}

const isMain =
  process.argv[1] && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))

if (isMain) {
  const { machine, results } = JSON.parse(readFileSync(process.argv[2] ?? newestResults(), 'utf8'))
  console.log(renderTable(goalsTable(results)))
  console.log(`${machine.cpu}; ${machine.date}; ${machine.mode}`)
}
