// How close do writing and restoring come to the disk, and how much processor time do they take?
//
// Each capture and each restore is measured right after dd has moved as many bytes, so that both
// see the machine in the same state. The result is the median of the ratios of these pairs.
import { rmSync } from 'node:fs'
import { Region, restore, snapshot } from 'stillframe'
import { runIfMain } from './support/alone.mjs'
import { whyNoCompression } from './support/compression.mjs'
import { ddRead, ddWrite, dropCache } from './support/disk.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { madeData } from './support/made-data.mjs'
import { GIB, MIB } from './support/pages.mjs'
import { processorSeconds } from './support/processor-time.mjs'
import { quiet } from './support/quiet.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, size } from './support/table.mjs'
import { warmMemory } from './support/warm-memory.mjs'

const WINDOW = 256 * MIB
const TIMEOUT_MS = 1_800_000

const filledRegion = (byteLength, seed) => {
  const region = Region.allocate(byteLength)
  const fill = madeData(seed)
  for (let at = 0; at < byteLength; at += WINDOW) {
    fill(new Uint8Array(region.buffer, at, Math.min(WINDOW, byteLength - at)))
  }
  return region
}

const usedSeconds = () => {
  const { own, waitedFor } = processorSeconds(process.pid)
  return own + waitedFor
}

/** Milliseconds and seconds of processor time of `act`. */
const timed = async (act) => {
  const before = usedSeconds()
  const started = performance.now()
  await act()
  return { ms: performance.now() - started, cpuSeconds: usedSeconds() - before }
}

const saveOnce = async (region, path, engine) => {
  const result = await timed(() => snapshot(region, path, engineOptions[engine]).done)
  await quiet()
  return result
}

const write = async ({ engine, byteLength, pairs, seed, directory }) => {
  const region = filledRegion(byteLength, seed)
  const [path, plain] = [`${directory}/image`, `${directory}/plain`]
  await saveOnce(region, path, engine) // the first call runs cold code
  const found = []
  for (let pair = 0; pair < pairs; pair++) {
    rmSync(path, { force: true })
    const ddMs = await ddWrite(plain, byteLength)
    rmSync(plain)
    found.push({ ddMs, ...(await saveOnce(region, path, engine)) })
  }
  return found
}

const read = async ({ compression, byteLength, pairs, seed, directory }) => {
  const [path, plain] = [`${directory}/image`, `${directory}/plain`]
  const region = filledRegion(byteLength, seed)
  await snapshot(region, path, { compression }).done
  region.close()
  await ddWrite(plain, byteLength)
  const found = []
  for (let pair = -1; pair < pairs; pair++) {
    await dropCache(path)
    const ddMs = await ddRead(plain)
    await warmMemory(2 * byteLength)
    let restored
    const taken = await timed(async () => {
      restored = await restore(path, { mode: 'copy' })
    })
    restored.close()
    if (pair >= 0) found.push({ ddMs, ...taken }) // the first call runs cold code
  }
  return found
}

export const scenarios = { write, read }

const measure = async ({ largestGiB, pairs, ...settings }, { seed, directory, note, skipped }) => {
  const engines = await usableEngines(directory, skipped)
  const { saving, restoring } = await whyNoCompression(directory)
  const reads = { none: 'restored as a checked copy', zstd: 'restored as a checked copy, zstd' }
  if (saving ?? restoring) {
    skipped.push({ what: reads.zstd, reason: saving ?? restoring })
    delete reads.zstd
  }
  const rows = []
  for (const byteLength of settings.byteLengths.filter((each) => each <= largestGiB * GIB)) {
    const reason = whyNoRoom(directory, { memory: 3 * byteLength, disk: 3 * byteLength })
    if (reason !== undefined) {
      skipped.push({ what: size(byteLength), reason })
      continue
    }
    const run = async (what, name, more) => {
      note(`pairs: ${size(byteLength)}, ${what}`)
      const options = { byteLength, pairs, seed, directory, ...more }
      const limits = { timeoutMs: TIMEOUT_MS }
      const found = await tryScenario(skipped, what, import.meta.url, name, options, limits)
      if (found !== undefined) rows.push({ byteLength, what, name, pairs: found })
    }
    for (const engine of engines) await run(`saved, ${engine}`, 'write', { engine })
    for (const [compression, what] of Object.entries(reads)) await run(what, 'read', { compression })
  }
  return rows
}

/** Speed to that of dd, a value for each pair. */
export const ratiosOf = ({ pairs }) => summary(pairs.map(({ ddMs, ms }) => ddMs / ms))

/** Median, in seconds of processor time per GiB. */
export const cpuPerGiB = ({ byteLength, pairs }) =>
  (summary(pairs.map(({ cpuSeconds }) => cpuSeconds)).p50 * GIB) / byteLength

export const bench = {
  name: 'pairs',
  title: 'Beside the disk, pair by pair',
  about: 'Saves with every engine and restores, each time right after dd has moved as many bytes.',
  settings: {
    full: { byteLengths: [GIB, 4 * GIB], largestGiB: 4, pairs: 9 },
    quick: { byteLengths: [512 * MIB], pairs: 3 },
  },
  measure,
  tables: ({ rows, settings }) => [
    {
      title: 'Speed to that of dd, and processor time',
      columns: ['size', 'what', 'ms', 'dd ms', 'speed to dd', 'least', 'most', 'CPU s per GiB'],
      rows: rows.map((row) => {
        const { min, p50, max } = ratiosOf(row)
        return [
          size(row.byteLength),
          row.what,
          number(summary(row.pairs.map(({ ms }) => ms)).p50),
          number(summary(row.pairs.map(({ ddMs }) => ddMs)).p50),
          ...[p50, min, max].map((value) => `×${number(value)}`),
          number(cpuPerGiB(row)),
        ]
      }),
      note:
        `Medians of ${settings.pairs} pairs. Saved: from the call until durable and published, beside dd oflag=direct with fsync. ` +
        'Restored: into new memory, from a file that is not in the page cache, beside dd iflag=direct of as many bytes. The data ' +
        'shrinks to two thirds with zstd. Processor time: of the whole process and its copies.',
    },
  ],
  plots: () => [],
}

runIfMain(import.meta.url, bench)
