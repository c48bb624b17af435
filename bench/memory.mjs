// How much additional memory does a snapshot take while every page is rewritten?
//
// Measured from outside: this process reads the proportional memory (PSS) of the service and of the
// processes it has forked, many times per second, and subtracts the service's memory before. The
// service rewrites every page of its region once, in random order, from the moment of the freeze,
// and turns its event loop between short slices. The observation slows the service down (the kernel
// walks its page tables), so durations are longer than without.
import { snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { MemoryWatch } from './support/memory-watch.mjs'
import { GIB, MIB, touchedRegion } from './support/pages.mjs'
import { shuffled } from './support/random.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { number, ratio, size } from './support/table.mjs'

const REST_MS = 300
const SLICE_PAGES = 256
// With fewer samples, the peak of a capture may have been missed.
const FEWEST_LOOKS = 10

/** Long enough for the parent to observe the service at rest. */
const rest = () => new Promise((resolve) => setTimeout(resolve, REST_MS))

/** Writes every page once, in slices, and turns the loop in between. */
const rewriteAll = async (pages, order) => {
  for (let at = 0; at < order.length; at += SLICE_PAGES) {
    for (const page of order.subarray(at, at + SLICE_PAGES)) pages.write(page, 2)
    await new Promise((next) => setImmediate(next))
  }
}

export const scenarios = {
  async rewrite({ engine, memoryLimit, byteLength, seed, directory }, tell) {
    const { region, pages } = touchedRegion(byteLength, true)
    const order = shuffled(pages.count, seed)
    tell('ready')
    await rest()
    tell('begin')
    const started = performance.now()
    const shot = snapshot(region, `${directory}/image`, { ...engineOptions[engine], memoryLimit })
    const ended = shot.done.then(
      ({ copiedBytesPeak, pages: { copied } }) => ({ copiedBytesPeak, copied, outcome: 'complete' }),
      (error) => ({ outcome: error.code ?? error.message }),
    )
    const written = rewriteAll(pages, order).then(() => performance.now() - started)
    const result = await ended
    const captureMs = performance.now() - started
    tell('end')
    return { ...result, captureMs, rewriteMs: await written }
  },
}

/** Observes the service from its rest until the end of its capture. */
const watched = async (skipped, what, options) => {
  let watch
  let seen
  const onTold = (message, pid) => {
    if (message === 'ready') watch = new MemoryWatch(pid)
    if (message === 'begin') watch.begin()
    if (message === 'end') seen = watch.end()
  }
  const result = await tryScenario(skipped, what, import.meta.url, 'rewrite', options, { onTold })
  watch?.end()
  if (watch?.error !== undefined) {
    // Forked copies are not dumpable: only root may observe them.
    skipped.push({ what, reason: `its memory cannot be seen: ${watch.error.message}` })
    return undefined
  }
  return result && { ...result, ...seen }
}

const measure = async ({ byteLength, memoryLimit }, { seed, directory, note, skipped }) => {
  const engines = await usableEngines(directory, skipped)
  // Fork can keep to a limit only by giving up: once with the usual limit, once to measure its full
  // cost.
  const plans = engines.map((engine) => ({ engine, memoryLimit }))
  if (engines.includes('fork')) plans.unshift({ engine: 'fork', memoryLimit: 2 * byteLength })
  const rows = []
  for (const plan of plans) {
    const what = `${plan.engine}, memoryLimit ${size(plan.memoryLimit)}`
    const memory = byteLength + Math.min(byteLength, plan.memoryLimit)
    const reason = whyNoRoom(directory, { memory: 1.1 * memory, disk: byteLength })
    if (reason !== undefined) {
      skipped.push({ what, reason })
      continue
    }
    note(`memory: ${what}`)
    const seen = await watched(skipped, what, { ...plan, byteLength, seed, directory })
    if (seen !== undefined) rows.push({ ...plan, byteLength, ...seen })
  }
  return rows
}

const peakSeen = ({ samples, peakBytes, memoryLimit }, byteLength) => {
  if (samples.length < FEWEST_LOOKS) return ['-', '-', '-']
  const above = memoryLimit < byteLength ? number((peakBytes - memoryLimit) / MIB) : '-'
  return [number(peakBytes / MIB), ratio(peakBytes, byteLength), above]
}

const memoryTable = (rows, { byteLength }) => ({
  title: `Extra memory while every page of ${size(byteLength)} is rewritten`,
  columns: [
    'engine',
    'memoryLimit',
    'peak seen MiB',
    'of the region',
    'above limit MiB',
    'reported peak MiB',
    'pages copied',
    'capture s',
    'rewrite s',
    'looks',
    'outcome',
  ],
  rows: rows.map((row) => [
    row.engine,
    size(row.memoryLimit),
    ...peakSeen(row, byteLength),
    number(row.copiedBytesPeak / MIB),
    String(row.copied ?? '-'),
    number(row.captureMs / 1000),
    number(row.rewriteMs / 1000),
    String(row.samples.length),
    row.outcome,
  ]),
  note:
    'Peak seen: PSS of the service and its children above what it was at rest, buffers and bookkeeping ' +
    'of the capture included; fewer than ' +
    `${FEWEST_LOOKS} looks show none. Reported peak: \`copiedBytesPeak\` of the result.`,
})

export const bench = {
  name: 'memory',
  title: 'Extra memory of a snapshot while every page is rewritten',
  about: 'Watches the memory of a service from outside while it rewrites all of its frozen memory.',
  settings: {
    full: { byteLength: 2 * GIB, memoryLimit: 64 * MIB },
    quick: { byteLength: GIB / 2, memoryLimit: 64 * MIB },
  },
  measure,
  tables: ({ rows, settings }) => (rows.length === 0 ? [] : [memoryTable(rows, settings)]),
  plots: ({ rows, settings }) => [
    {
      file: 'extra-memory',
      title: 'Extra memory while every page is rewritten in random order',
      subtitle: `region of ${size(settings.byteLength)}, seen from outside`,
      x: { title: 'time since the call, s' },
      y: { title: 'extra memory, MiB', min: 0 },
      markers: false,
      series: rows.map(({ engine, memoryLimit, samples }) => ({
        name: `${engine}, limit ${size(memoryLimit)}`,
        look: engine === 'fork' && memoryLimit < settings.byteLength ? 'fork with a limit' : engine,
        points: samples.map(([ms, bytes]) => [ms / 1000, bytes / MIB]),
      })),
    },
  ],
}

runIfMain(import.meta.url, bench)
