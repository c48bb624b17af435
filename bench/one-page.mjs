// What is the fixed cost of a call of snapshot(), whatever it captures? Measures the pause for a
// region of one page with every engine, one capture after the other, in a process that rests in
// between, like a service that captures a frame now and then.
import { setTimeout as sleep } from 'node:timers/promises'
import { Region, snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { PAGE } from './support/pages.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number } from './support/table.mjs'

export const scenarios = {
  async pauses({ engine, captures, restMs, directory }) {
    const region = Region.allocate(PAGE)
    const bytes = new Uint8Array(region.buffer)
    const pauses = []
    for (let i = 0; i < captures; i++) {
      bytes[0] = i
      const shot = snapshot(region, `${directory}/image`, { ...engineOptions[engine], durable: false })
      pauses.push(shot.pauseMs)
      await shot.done
      await sleep(restMs)
    }
    return pauses
  },
}

const measure = async ({ captures, restMs }, { directory, note, skipped }) => {
  const rows = []
  for (const engine of await usableEngines(directory, skipped)) {
    note(`one-page: ${engine}`)
    const options = { engine, captures, restMs, directory }
    const pauses = await tryScenario(skipped, engine, import.meta.url, 'pauses', options)
    if (pauses === undefined) continue
    const [firstMs, ...later] = pauses
    rows.push({ engine, firstMs, laterMs: summary(later) })
  }
  return rows
}

export const bench = {
  name: 'one-page',
  title: 'The part of a pause that every capture has',
  about: 'Captures a region of one page again and again, with every engine.',
  settings: {
    full: { captures: 100, restMs: 50 },
    quick: { captures: 30 },
  },
  measure,
  tables: ({ rows, settings: { captures, restMs } }) => [
    {
      title: 'Pause of snapshot() in ms, a region of one page',
      columns: ['engine', 'first', 'later: least', 'median', 'p99'],
      rows: rows.map(({ engine, firstMs, laterMs: { min, p50, p99 } }) => [
        engine,
        ...[firstMs, min, p50, p99].map((ms) => number(ms)),
      ]),
      note: `${captures} captures, with a rest of ${restMs} ms in between. The first runs code that is not compiled yet.`,
    },
  ],
  plots: () => [],
}

runIfMain(import.meta.url, bench)
