// What does the first write to a frozen page cost the thread that makes it?
//
// A capture of two regions saves them in order. While it is busy with the first one, which is not
// written, all of the second one is certainly frozen: there, single writes to random pages are
// timed, each page once. The timing ends when the saver comes close to the second region. The same
// loop also times two readings of the clock with nothing between them, and writes to the same
// region before it is frozen.
//
// Every round has its own process and region, since the writes split the huge pages that they hit.
// So the first write within each huge page is also shown separately.
import { setTimeout as sleep } from 'node:timers/promises'
import { snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { HUGE_PAGE, MIB, PAGE, touchedRegion } from './support/pages.mjs'
import { shuffled } from './support/random.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, ratio, size } from './support/table.mjs'
import { warmMemory } from './support/warm-memory.mjs'

// How often the saver's position is checked, in writes, and how close to the written region it may
// get.
const LOOK_EVERY = 32
const KEEP_AWAY = 64 * MIB

/** Duration of each call of `act(page)` in microseconds, until `goOn()` is false. */
const timeEach = (order, act, goOn = () => true) => {
  const us = new Float64Array(order.length)
  for (let i = 0; i < order.length; i++) {
    if (i % LOOK_EVERY === 0 && !goOn()) return us.subarray(0, i)
    const started = performance.now()
    act(order[i])
    us[i] = (performance.now() - started) * 1000
  }
  return us
}

/** For each page, true if it is the first one written in its huge page. */
const firstOfHugePage = (order) => {
  const seen = new Set()
  return Array.from(order, (page) => {
    const huge = Math.floor((page * PAGE) / HUGE_PAGE)
    return !seen.has(huge) && seen.add(huge) !== undefined
  })
}

export const scenarios = {
  async firstWrites({ engine, hugePages, savedFirst, byteLength, samples, seed, directory }) {
    const saved = touchedRegion(savedFirst, hugePages)
    const { region, pages } = touchedRegion(byteLength, hugePages)
    const order = shuffled(pages.count, seed)
    const write = (page) => pages.write(page, 2)
    // Also warms up the loop.
    for (let i = 0; i < 3; i++) timeEach(order.subarray(0, samples), () => {})
    const clock = timeEach(order.subarray(0, samples), () => {})
    const unfrozen = timeEach(order.subarray(0, samples), write)
    const chosen = order.subarray(samples, 2 * samples)
    const shot = snapshot({ saved: saved.region, region }, `${directory}/image`, {
      ...engineOptions[engine],
      memoryLimit: byteLength,
    })
    const isFarAway = () => shot.progress.bytesDone + KEEP_AWAY < savedFirst
    const frozen = timeEach(chosen, write, isFarAway)
    // The capture updates its own cost several times per second; meanwhile nothing of it is
    // released.
    let copiedPages = 0
    while (copiedPages < frozen.length && isFarAway()) {
      await sleep(10)
      copiedPages = Math.max(copiedPages, shot.progress.copiedBytes / PAGE)
    }
    shot.abort()
    await shot.done.catch(() => {})
    return { clock, unfrozen, frozen, first: firstOfHugePage(chosen.subarray(0, frozen.length)), copiedPages }
  },
}

const concatenated = (arrays) => Float64Array.from(arrays.flatMap((each) => [...each]))

const measure = async ({ rounds, ...sizes }, { seed, directory, note, skipped }) => {
  const engines = await usableEngines(directory, skipped)
  const rows = []
  const reason = whyNoRoom(directory, { memory: 1.2 * (sizes.savedFirst + 2 * sizes.byteLength) })
  if (reason !== undefined) {
    skipped.push({ what: 'first writes', reason })
    return rows
  }
  for (const hugePages of [true, false]) {
    const kind = hugePages ? 'huge pages' : '4 KiB pages'
    const found = Object.fromEntries(engines.map((engine) => [engine, []]))
    for (let round = 0; round < rounds; round++) {
      note(`first-write: ${kind}, round ${round + 1} of ${rounds}`)
      for (const engine of engines) {
        const options = { engine, hugePages, ...sizes, seed: seed + round, directory }
        const what = `${engine}, ${kind}, round ${round + 1}`
        await warmMemory(sizes.savedFirst + 2 * sizes.byteLength)
        const result = await tryScenario(skipped, what, import.meta.url, 'firstWrites', options)
        if (result !== undefined) found[engine].push(result)
      }
    }
    rows.push(...rowsOf(kind, found))
  }
  return rows
}

const rowsOf = (kind, found) => {
  const all = Object.values(found).flat()
  const row = (what, us, more) => ({ kind, what, us: summary(us), ...more })
  const rows = [
    row('clock alone', concatenated(all.map(({ clock }) => clock))),
    row('unfrozen', concatenated(all.map(({ unfrozen }) => unfrozen))),
  ]
  for (const [engine, results] of Object.entries(found)) {
    if (results.length === 0) continue
    const frozen = concatenated(results.map((each) => each.frozen))
    const copiedPages = results.reduce((sum, each) => sum + each.copiedPages, 0)
    rows.push(row(engine, frozen, { engine, copiedPages: engine === 'fork' ? undefined : copiedPages }))
    if (kind !== 'huge pages') continue
    const first = results.flatMap((each) => each.first)
    const splits = frozen.filter((_, index) => first[index])
    rows.push(row(`${engine}: first in 2 MiB`, splits, { splits: true }))
  }
  return rows
}

const tableOf = (rows, settings, kind) => {
  const shown = rows.filter((row) => row.kind === kind)
  const fork = shown.find(({ engine }) => engine === 'fork')?.us
  const forkSplits = shown.find(({ what, splits }) => splits && what.startsWith('fork'))?.us
  return {
    title: `First write to a frozen page in µs, ${kind}`,
    columns: ['write', 'writes', 'p50', 'p99', 'p99.9', 'max', 'p50 to fork', 'p99 to fork', 'copied'],
    rows: shown.map(({ what, us, splits, copiedPages }) => {
      const base = splits ? forkSplits : fork
      const { count, p50, p99, p999, max } = us
      const copied = copiedPages === undefined ? '-' : `${Math.round((100 * copiedPages) / count)} %`
      const ratios = [ratio(p50, base?.p50), ratio(p99, base?.p99)]
      return [what, String(count), ...[p50, p99, p999, max].map(number), ...ratios, copied]
    }),
    note:
      `All figures contain the reading of the clock. Region of ${size(settings.byteLength)}; fork is the ` +
      "kernel's own copy-on-write. Copied: pages that the capture says it has copied, to writes made.",
  }
}

export const bench = {
  name: 'first-write',
  title: 'Cost of the first write to a frozen page',
  about: "Times single writes to random frozen pages, beside the kernel's own copy-on-write.",
  settings: {
    full: { savedFirst: 1024 * MIB, byteLength: 512 * MIB, samples: 4000, rounds: 5 },
    quick: { savedFirst: 512 * MIB, byteLength: 256 * MIB, samples: 4000, rounds: 2 },
  },
  measure,
  tables: ({ rows, settings }) =>
    rows.length === 0 ? [] : ['huge pages', '4 KiB pages'].map((kind) => tableOf(rows, settings, kind)),
  plots: () => [],
}

runIfMain(import.meta.url, bench)
