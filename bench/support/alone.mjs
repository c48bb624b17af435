// Runs one benchmark by itself: `node bench/freeze.mjs --quick`.
import { realpathSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { renderTable } from './table.mjs'
import { withTemporaryDirectory } from './temporary.mjs'

/** Options shared by every benchmark and by the run of all of them. */
export const commonOptions = {
  quick: { type: 'boolean', default: false },
  seed: { type: 'string', default: '1' },
  dir: { type: 'string', default: tmpdir() },
  largest: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
}

export const commonHelp = `  --quick      small regions and few rounds: a glance, not a measurement
  --seed N     of the random page order (default 1)
  --largest N  GiB of the largest region of \`freeze\`, \`scaling\`, \`pairs\` and \`storage\` (default 8, 12, 4 and 2; quick: 1 or less)
  --dir DIR    where snapshots are written, and deleted again (default: ${tmpdir()})`

const checkInteger = (name, text, min, max) => {
  const value = Number(text)
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw new RangeError(`${name} takes an integer from ${min} to ${max}, not '${text}'`)
}

/** The common options, parsed and checked. */
export const checkCommon = ({ quick, seed, largest }) => ({
  quick,
  seed: checkInteger('--seed', seed, 1, 2 ** 32 - 1),
  largestGiB: largest === undefined ? undefined : checkInteger('--largest', largest, 1, 4096),
})

const isMain = (url) =>
  process.argv[1] !== undefined && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(url))

/** Runs `bench`; returns its result, including what was left out and why. */
export const measure = async (bench, { quick, seed, largestGiB, directory, note }) => {
  const settings = { ...bench.settings.full, ...(quick ? bench.settings.quick : {}) }
  if (largestGiB !== undefined && 'largestGiB' in settings) settings.largestGiB = largestGiB
  const skipped = []
  const rows = await bench.measure(settings, { seed, directory, note, skipped })
  return { title: bench.title, settings, rows, skipped }
}

/** The tables of a result, and the list of what was left out. */
export const renderResult = (bench, result) => {
  const missing = result.skipped.map(({ what, reason }) => `- left out: ${what}: ${reason}`)
  return [...bench.tables(result).map(renderTable), missing.join('\n')].filter(Boolean).join('\n')
}

/** Progress goes to stderr, so that tables can be piped. */
export const noteOnStderr = (text) => console.error(`… ${text}`)

/** Does nothing unless the file at `url` is the main program. */
export const runIfMain = async (url, bench) => {
  if (!isMain(url)) return
  try {
    const { values } = parseArgs({ options: { ...commonOptions, json: { type: 'boolean', default: false } } })
    if (values.help) {
      const json = '  --json       the measured values instead of tables'
      console.log(`${bench.title}\n\n${bench.about}\n\n${commonHelp}\n${json}`)
      return
    }
    const common = checkCommon(values)
    const result = await withTemporaryDirectory(values.dir, (directory) =>
      measure(bench, { ...common, directory, note: noteOnStderr }),
    )
    console.log(values.json ? JSON.stringify(result, null, 2) : renderResult(bench, result))
  } catch (error) {
    console.error(error.message)
    process.exitCode = 1
  }
}
