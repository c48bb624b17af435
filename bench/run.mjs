// Runs all benchmarks: `npm run bench -- --help`.
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bench as archive } from './archive.mjs'
import { bench as deltas } from './deltas.mjs'
import { bench as eventLoop } from './event-loop.mjs'
import { bench as firstWrite } from './first-write.mjs'
import { bench as freeze } from './freeze.mjs'
import { goalsTable } from './goals.mjs'
import { bench as heap } from './heap.mjs'
import { bench as heapIds } from './heap-ids.mjs'
import { bench as independence } from './independence.mjs'
import { bench as memory } from './memory.mjs'
import { bench as micro } from './micro.mjs'
import { bench as nearLimit } from './near-limit.mjs'
import { bench as onePage } from './one-page.mjs'
import { bench as pairs } from './pairs.mjs'
import { bench as scaling } from './scaling.mjs'
import { bench as secondSnapshot } from './second-snapshot.mjs'
import { bench as storage } from './storage.mjs'
import {
  checkCommon,
  commonHelp,
  commonOptions,
  measure,
  noteOnStderr,
  renderResult,
} from './support/alone.mjs'
import { describeDisk } from './support/disk.mjs'
import { describeMachine } from './support/machine.mjs'
import { GIB, MIB } from './support/pages.mjs'
import { barPlot, linePlot } from './support/plot.mjs'
import { hasNoHugePages, runAgainWithoutHugePages } from './support/small-pages.mjs'
import { renderTable } from './support/table.mjs'
import { withTemporaryDirectory } from './support/temporary.mjs'
import { bench as versus } from './versus.mjs'

const benches = [
  versus,
  pairs,
  scaling,
  micro,
  freeze,
  onePage,
  firstWrite,
  eventLoop,
  secondSnapshot,
  deltas,
  archive,
  storage,
  memory,
  independence,
  heap,
  heapIds,
  nearLimit,
]
// A quick run should end within three minutes, even on a slow disk: benchmarks that have not begun
// by this time are left out.
const QUICK_LAST_START_MS = 145_000

const names = benches.map(({ name }) => name).join(', ')

const help = `npm run bench [-- options]

Measures the engines and their peers side by side, prints tables, and writes results.json, report.md and plots.

${commonHelp}
  --only NAME  one of ${names}; may be given more than once
  --out DIR    where results go (default: bench/results/<date>)
  --without-huge-pages
               in pages of 4 KiB, as on a host whose transparent huge pages are set to \`never\` (needs gcc)

Benchmarks:
${benches.map(({ name, about }) => `  ${name.padEnd(16)} ${about}`).join('\n')}

Each also runs by itself: node bench/freeze.mjs --quick. See bench/README.md for what is comparable.`

const options = {
  ...commonOptions,
  only: { type: 'string', multiple: true, default: [] },
  out: { type: 'string' },
  'without-huge-pages': { type: 'boolean', default: false },
}

const chosenBenches = (only) => {
  const unknown = only.find((name) => !benches.some((bench) => bench.name === name))
  if (unknown !== undefined) throw new RangeError(`--only takes one of ${names}, not '${unknown}'`)
  return benches.filter(({ name }) => only.length === 0 || only.includes(name))
}

/** For example 2026-01-31-1405, so that two runs on one day do not overwrite each other. */
const dateName = (date) => date.toISOString().slice(0, 16).replace('T', '-').replace(':', '')

const defaultOut = (date) => fileURLToPath(new URL(`./results/${dateName(date)}`, import.meta.url))

const writePlots = (bench, result, out) =>
  bench.plots(result).map(({ file, kind, ...plot }) => {
    writeFileSync(join(out, `${file}.svg`), kind === 'bars' ? barPlot(plot) : linePlot(plot))
    return `![${plot.title}](${file}.svg)`
  })

const describe = (facts) =>
  Object.entries(facts)
    .map(([name, value]) => `- ${name}: ${value}`)
    .join('\n')

/** For example ` (freeze 20 s, heap 30 s)`. */
const secondsOf = (results) => {
  const parts = Object.entries(results).filter(([, { seconds }]) => seconds !== undefined)
  return parts.length === 0
    ? ''
    : ` (${parts.map(([name, { seconds }]) => `${name} ${seconds} s`).join(', ')})`
}

const main = async () => {
  const { values } = parseArgs({ options })
  if (values.help) return console.log(help)
  const common = checkCommon(values)
  const chosen = chosenBenches(values.only)
  if (values['without-huge-pages'] && !hasNoHugePages()) {
    process.exitCode = await runAgainWithoutHugePages(values.dir)
    return
  }
  const startedAt = new Date()
  const out = resolve(values.out ?? defaultOut(startedAt))
  mkdirSync(out, { recursive: true })

  await withTemporaryDirectory(values.dir, async (directory) => {
    const machine = {
      date: startedAt.toISOString(),
      ...describeMachine(directory),
      disk: await describeDisk(directory, values.quick ? 256 * MIB : GIB),
      seed: common.seed,
      mode: values.quick ? 'quick: a glance, not a measurement' : 'full',
    }
    console.log(`${describe(machine)}\n`)
    const results = {}
    const sections = []
    for (const bench of chosen) {
      const began = performance.now()
      if (values.quick && Date.now() - startedAt.getTime() > QUICK_LAST_START_MS) {
        const text = `Left out: the quick run has taken ${QUICK_LAST_START_MS / 1000} s already. \`--only ${bench.name}\` has it.`
        console.log(`${bench.name}: ${text}`)
        sections.push(`## ${bench.title}`, text)
        continue
      }
      try {
        const result = await measure(bench, { ...common, directory, note: noteOnStderr })
        result.seconds = Math.round((performance.now() - began) / 1000)
        results[bench.name] = result
        const text = renderResult(bench, result)
        console.log(text)
        sections.push(`## ${bench.title}`, text, ...writePlots(bench, result, out))
      } catch (error) {
        // The results of the others are still useful.
        process.exitCode = 1
        console.error(`${bench.name} failed: ${error.message}`)
        results[bench.name] = { failed: error.message }
        sections.push(`## ${bench.title}`, `Failed: ${error.message}`)
      }
    }
    const goals = renderTable(goalsTable(results))
    console.log(goals)
    machine['load average at the end'] = os
      .loadavg()
      .map((load) => load.toFixed(2))
      .join(', ')
    const took = `${Math.round((Date.now() - startedAt.getTime()) / 1000)} s`
    machine['the run took'] = `${took}${secondsOf(results)}`
    writeFileSync(join(out, 'results.json'), `${JSON.stringify({ machine, results }, null, 2)}\n`)
    writeFileSync(
      join(out, 'report.md'),
      `${['# stillframe measured', describe(machine), goals, ...sections].join('\n\n')}\n`,
    )
    console.log(`took ${took}; results in ${out}`)
  })
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
