// All benchmarks of the engines in one run: `npm run bench -- --help`.
import { mkdirSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { bench as eventLoop } from './event-loop.mjs'
import { bench as firstWrite } from './first-write.mjs'
import { bench as freeze } from './freeze.mjs'
import { bench as heap } from './heap.mjs'
import { bench as independence } from './independence.mjs'
import { bench as memory } from './memory.mjs'
import { bench as secondSnapshot } from './second-snapshot.mjs'
import {
  checkCommon,
  commonHelp,
  commonOptions,
  measure,
  noteOnStderr,
  renderResult,
} from './support/alone.mjs'
import { describeMachine } from './support/machine.mjs'
import { linePlot } from './support/plot.mjs'
import { withTemporaryDirectory } from './support/temporary.mjs'

const benches = [freeze, firstWrite, eventLoop, secondSnapshot, memory, independence, heap]
const names = benches.map(({ name }) => name).join(', ')

const help = `npm run bench [-- options]

Measures the engines side by side, prints tables, and writes results.json, report.md and plots.

${commonHelp}
  --only NAME  one of ${names}; may be given more than once
  --out DIR    where results go (default: bench/results/<date>)

Benchmarks:
${benches.map(({ name, about }) => `  ${name.padEnd(16)} ${about}`).join('\n')}

Each also runs by itself: node bench/freeze.mjs --quick. See bench/README.md for what is comparable.`

const options = {
  ...commonOptions,
  only: { type: 'string', multiple: true, default: [] },
  out: { type: 'string' },
}

const chosenBenches = (only) => {
  const unknown = only.find((name) => !benches.some((bench) => bench.name === name))
  if (unknown !== undefined) throw new RangeError(`--only takes one of ${names}, not '${unknown}'`)
  return benches.filter(({ name }) => only.length === 0 || only.includes(name))
}

/** Such as 2026-01-31-1405: two runs of one day do not overwrite each other. */
const dateName = (date) => date.toISOString().slice(0, 16).replace('T', '-').replace(':', '')

const defaultOut = (date) => fileURLToPath(new URL(`./results/${dateName(date)}`, import.meta.url))

const writePlots = (bench, result, out) =>
  bench.plots(result).map(({ file, ...plot }) => {
    writeFileSync(join(out, `${file}.svg`), linePlot(plot))
    return `![${plot.title}](${file}.svg)`
  })

const describe = (facts) =>
  Object.entries(facts)
    .map(([name, value]) => `- ${name}: ${value}`)
    .join('\n')

const main = async () => {
  const { values } = parseArgs({ options })
  if (values.help) return console.log(help)
  const common = checkCommon(values)
  const chosen = chosenBenches(values.only)
  const startedAt = new Date()
  const out = resolve(values.out ?? defaultOut(startedAt))
  mkdirSync(out, { recursive: true })

  await withTemporaryDirectory(values.dir, async (directory) => {
    const machine = {
      date: startedAt.toISOString(),
      ...describeMachine(directory),
      seed: common.seed,
      mode: values.quick ? 'quick: a glance, not a measurement' : 'full',
    }
    console.log(`${describe(machine)}\n`)
    const results = {}
    const sections = []
    for (const bench of chosen) {
      try {
        const result = await measure(bench, { ...common, directory, note: noteOnStderr })
        results[bench.name] = result
        const text = renderResult(bench, result)
        console.log(text)
        sections.push(`## ${bench.title}`, text, ...writePlots(bench, result, out))
      } catch (error) {
        // The others are still worth having.
        process.exitCode = 1
        console.error(`${bench.name} failed: ${error.message}`)
        results[bench.name] = { failed: error.message }
        sections.push(`## ${bench.title}`, `Failed: ${error.message}`)
      }
    }
    machine['load average at the end'] = os
      .loadavg()
      .map((load) => load.toFixed(2))
      .join(', ')
    const took = `${Math.round((Date.now() - startedAt.getTime()) / 1000)} s`
    machine['the run took'] = took
    writeFileSync(join(out, 'results.json'), `${JSON.stringify({ machine, results }, null, 2)}\n`)
    writeFileSync(
      join(out, 'report.md'),
      `${['# stillframe: engines measured', describe(machine), ...sections].join('\n\n')}\n`,
    )
    console.log(`took ${took}; results in ${out}`)
  })
}

main().catch((error) => {
  console.error(error.message)
  process.exitCode = 1
})
