// What do single calls cost, and what does compression gain for its time?
//
// First the pieces of a snapshot (freeze, fault, encode, hash, codec) are compared with the best
// that this machine can do. Then single calls are measured with tinybench; each task has its own
// region and runs for a while. Finally, real kinds of data are saved and restored at several
// compression levels, if this build supports any.
import { createReadStream, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import v8 from 'node:v8'
import { inspect, Region, restore, snapshot } from 'stillframe'
import { Bench } from 'tinybench'
import { runIfMain } from './support/alone.mjs'
import { whyNoCompression } from './support/compression.mjs'
import { dropCache } from './support/disk.mjs'
import { engineOptions, usableEngines } from './support/engines.mjs'
import { measurePieces, whyNoPieces } from './support/native-pieces.mjs'
import { MIB, PAGE, touchedRegion } from './support/pages.mjs'
import { quiet } from './support/quiet.mjs'
import { randomIntegers } from './support/random.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, ratio, size } from './support/table.mjs'

const SMALL = MIB
// Keeps the saver busy with a region of this size while pages of another region are announced.
const SAVED_FIRST = 512 * MIB
const KEEP_AWAY = 64 * MIB
const modules = fileURLToPath(new URL('../node_modules', import.meta.url))

/** Runs one task and summarizes its latencies in ms. `hooks` are those of tinybench. */
const timeTask = async (act, { iterations, timeMs, ...hooks }) => {
  const bench = new Bench({ iterations, time: timeMs, warmup: false, retainSamples: true, throws: true })
  bench.add('task', act, hooks)
  await bench.run()
  return summary(bench.tasks[0].result.latency.samples)
}

const freezeAndAbort = async (engine, { directory, byteLength, iterations }) => {
  const { region, pages } = touchedRegion(byteLength, true)
  const once = async () => {
    const shot = snapshot(region, `${directory}/image`, engineOptions[engine])
    shot.abort()
    await shot.done.catch(() => {})
  }
  await once() // the first call runs cold code
  return timeTask(once, {
    iterations,
    timeMs: 0,
    beforeEach: async () => {
      await quiet()
      pages.writeAll(1)
    },
  })
}

/**
 * The pages are certainly frozen: they belong to the second region while the saver is in the first.
 */
const prepareFrozen = async (engine, { directory, byteLength }) => {
  const saved = touchedRegion(SAVED_FIRST, true)
  const { region, pages } = touchedRegion(byteLength, true)
  const shot = snapshot({ saved: saved.region, region }, `${directory}/image`, {
    ...engineOptions[engine],
    memoryLimit: byteLength,
  })
  let page = 0
  const isFarAway = () => shot.progress.bytesDone + KEEP_AWAY < SAVED_FIRST
  const result = await timeTask(() => region.prepareWrite((page++ % pages.count) * PAGE, PAGE), {
    iterations: Math.min(2000, pages.count),
    timeMs: 0,
  })
  const wasFarAway = isFarAway()
  shot.abort()
  await shot.done.catch(() => {})
  if (!wasFarAway) throw new Error('the saver was faster than the calls')
  return result
}

const prepareUnfrozen = async ({ byteLength, timeMs }) => {
  const { region, pages } = touchedRegion(byteLength, true)
  let page = 0
  return timeTask(() => region.prepareWrite((page++ % pages.count) * PAGE, PAGE), {
    iterations: 1000,
    timeMs,
  })
}

const smallFile = async (directory) => {
  const path = `${directory}/small`
  const { region } = touchedRegion(SMALL, false)
  await snapshot(region, path, { metadata: { name: 'small' } }).done
  return path
}

const restoreSmall = async ({ directory, timeMs }, options) => {
  const path = await smallFile(directory)
  const act = async () => (await restore(path, options)).close()
  return timeTask(act, { iterations: 20, timeMs })
}

const inspectSmall = async ({ directory, timeMs }) => {
  const path = await smallFile(directory)
  return timeTask(() => inspect(path), { iterations: 20, timeMs })
}

/** Text pages as in a database: sources and documents, one after the other. */
const texts = (bytes) => {
  const names = readdirSync(modules, { recursive: true })
    .filter((name) => /\.(js|md)$/.test(name))
    .sort()
  let at = 0
  for (const name of names) {
    if (at === bytes.length) break
    let text
    try {
      text = readFileSync(join(modules, name))
    } catch {
      continue // a directory with the name of a file
    }
    at += text.copy(bytes, at)
  }
  return at
}

/** Numbers distributed like those of embeddings: two at a time, by the Box-Muller method. */
const vectors = (bytes, seed) => {
  const random = randomIntegers(seed)
  const floats = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  for (let i = 0; i < floats.length; i += 2) {
    const radius = Math.sqrt(-2 * Math.log((random(2 ** 32) + 1) / 2 ** 32))
    const angle = (2 * Math.PI * random(2 ** 32)) / 2 ** 32
    floats[i] = radius * Math.cos(angle)
    floats[i + 1] = radius * Math.sin(angle)
  }
  return bytes.length
}

const heapSnapshot = async (bytes, seed, directory) => {
  const random = randomIntegers(seed)
  // One of these objects takes about 300 bytes of the file.
  const objects = Array.from({ length: bytes.length / 300 }, (_, id) => ({
    id,
    name: `name ${random(2 ** 32)}`,
  }))
  const path = v8.writeHeapSnapshot(join(directory, 'own.heapsnapshot'))
  let at = 0
  for await (const chunk of createReadStream(path, { end: bytes.length - 1 })) at += chunk.copy(bytes, at)
  rmSync(path)
  if (objects.length === 0) throw new Error('unreachable: keeps the objects alive')
  return at
}

const randomBytes = (bytes, seed) => {
  const random = randomIntegers(seed)
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  for (let i = 0; i < words.length; i++) words[i] = random(2 ** 32)
  return bytes.length
}

/** Each function fills as much of the memory as it can, and returns how much. */
const kindsOfData = {
  'heap snapshot (JSON)': heapSnapshot,
  "Node's program": (bytes) => readFileSync(process.execPath).copy(bytes),
  'texts (.js, .md)': texts,
  'float32 vectors': vectors,
  zeros: (bytes) => bytes.length,
  random: randomBytes,
}

/** Saves and restores one kind of data at each level; level 0 is without compression. */
const tryLevels = async (kind, { byteLength, levels, canRestore, rounds, seed, directory }) => {
  const bytes = Buffer.alloc(byteLength)
  const used = Math.floor((await kindsOfData[kind](bytes, seed, directory)) / PAGE) * PAGE
  const region = Region.allocate(used)
  new Uint8Array(region.buffer).set(bytes.subarray(0, used))
  const path = `${directory}/image`
  const results = []
  for (const level of levels) {
    const options = { compression: level === 0 ? 'none' : { codec: 'zstd', level } }
    const saved = []
    const restored = []
    let allocatedBytes
    for (let round = 0; round < rounds; round++) {
      await quiet()
      const result = await snapshot(region, path, options).done
      saved.push(result.durationMs)
      allocatedBytes = result.allocatedBytes
      if (level > 0 && !canRestore) continue
      await dropCache(path)
      const started = performance.now()
      const back = await restore(path, { mode: 'copy' })
      restored.push(performance.now() - started)
      back.close()
    }
    results.push({
      level,
      byteLength: used,
      allocatedBytes,
      saved: summary(saved),
      restored: summary(restored),
    })
  }
  return results
}

export const scenarios = {
  freezeAndAbort: (options) => freezeAndAbort(options.engine, options),
  prepareFrozen: (options) => prepareFrozen(options.engine, options),
  prepareUnfrozen,
  restoreMap: (options) => restoreSmall(options, { verify: false }),
  restoreVerified: (options) => restoreSmall(options, {}),
  inspect: inspectSmall,
  levels: (options) => tryLevels(options.kind, options),
}

const measureCalls = async (settings, { directory, note, skipped }) => {
  const engines = await usableEngines(directory, skipped)
  const rows = []
  const run = async (what, name, { limit, ...more }) => {
    note(`micro: ${what}`)
    const options = { ...settings, ...more, directory }
    const ms = await tryScenario(skipped, what, import.meta.url, name, options)
    if (ms !== undefined) rows.push({ what, ms, limit })
  }
  const region = size(settings.byteLength)
  for (const engine of engines)
    await run(`freeze and abort ${region}, ${engine}`, 'freezeAndAbort', {
      engine,
      limit: `${engine.split(' ')[0]} of all`,
    })
  await run('prepareWrite of a page, nothing frozen', 'prepareUnfrozen', {})
  for (const engine of engines.filter((each) => each !== 'fork'))
    await run(`prepareWrite of a frozen page, ${engine}`, 'prepareFrozen', {
      engine,
      limit: 'copy-on-write of a page after fork',
    })
  const mapped = 'open, read two pages, map, close'
  await run(`restore ${size(SMALL)}, map, verify false`, 'restoreMap', { limit: mapped })
  await run(`restore ${size(SMALL)}, map, verify true`, 'restoreVerified', { limit: mapped })
  await run(`inspect ${size(SMALL)}`, 'inspect', { limit: 'open, read two pages, close' })
  return rows
}

const measureData = async (settings, { seed, directory, note, skipped }) => {
  const { saving, restoring } = await whyNoCompression(directory)
  if (saving !== undefined) skipped.push({ what: 'levels of zstd', reason: saving })
  else if (restoring !== undefined) skipped.push({ what: 'restoring levels of zstd', reason: restoring })
  const levels = saving === undefined ? settings.levels : [0]
  const canRestore = restoring === undefined
  const rows = []
  for (const kind of Object.keys(kindsOfData)) {
    note(`micro: ${kind}`)
    const { dataBytes, rounds } = settings
    const options = { kind, byteLength: dataBytes, levels, canRestore, rounds, seed, directory }
    const results = await tryScenario(skipped, kind, import.meta.url, 'levels', options)
    for (const result of results ?? []) rows.push({ kind, ...result })
  }
  return rows
}

const measure = async (settings, context) => {
  const memory = Math.max(SAVED_FIRST + 2 * settings.byteLength, 3 * settings.dataBytes)
  const reason = whyNoRoom(context.directory, { memory, disk: memory })
  if (reason !== undefined) {
    context.skipped.push({ what: 'micro', reason })
    return { pieces: [], calls: [], data: [] }
  }
  return {
    pieces: await measureBestCase(settings, context),
    calls: await measureCalls(settings, context),
    data: await measureData(settings, context),
  }
}

const measureBestCase = async ({ byteLength }, { directory, note, skipped }) => {
  const reason = await whyNoPieces()
  if (reason !== undefined) {
    skipped.push({ what: 'the pieces beside what the machine can do', reason })
    return []
  }
  note('micro: what the machine can do')
  return [...(await measurePieces(byteLength, directory))].map(([what, rest]) => ({ what, ...rest }))
}

/** What each piece is limited by: nobody can do it faster than this. */
const limitsOfPieces = {
  'fork beside a JS heap of 1 GiB': 'fork of all',
  'sums of pages': 'read',
  'zero test of zeros': 'read',
  'encode flat': 'copy',
  'zstd 1, encode': 'copy',
  'zstd 1, decode': 'copy',
  'signal and mprotect of a page': 'copy-on-write of a page after fork',
  'signal and userfaultfd lift of a page': 'copy-on-write of a page after fork',
}

const piecesTable = (pieces) => ({
  title: 'Pieces of a snapshot beside the speed of this machine',
  columns: ['what', 'unit', 'measured', 'limit', 'to the limit'],
  rows: pieces.map(({ what, unit, value }) => {
    const limit = pieces.find((each) => each.what === limitsOfPieces[what])
    return [
      what,
      unit === 'us' ? 'µs' : unit,
      number(value),
      limit === undefined ? '-' : limit.what,
      limit === undefined ? '-' : ratio(value, limit.value),
    ]
  }),
  note:
    'One thread, memory in huge pages. GB/s: more is better, µs: less is better. Rows without a limit are limits themselves: ' +
    'the bare speed of memory, or a bare system call. Encode flat is what a saver does with a byte before it writes it: copy, zero ' +
    'test, sum of the page, checksum of the block. The fork beside a JS heap is a bare one too: the ratio is what the heap adds.',
})

const callsTable = (calls, pieces) => ({
  title: 'Single calls, in µs',
  columns: ['call', 'calls', 'min', 'p50', 'p99', 'max', 'limit', 'limit µs'],
  rows: calls.map(({ what, ms, limit }) => {
    const least = pieces.find((each) => each.what === limit)
    return [
      what,
      String(ms.count),
      ...[ms.min, ms.p50, ms.p99, ms.max].map((each) => number(each * 1000)),
      least === undefined ? '-' : limit,
      least === undefined ? '-' : number(least.value),
    ]
  }),
  note:
    'Freeze and abort: until the aborted capture has ended. Restore: until it has been closed again. The limit is the bare ' +
    'system call, or what the kernel takes for the same: no call can be faster.',
})

const speed = ({ byteLength }, ms) => byteLength / 1000 / ms

const dataTable = (data) => ({
  title: 'What compression gives for its time',
  columns: [
    'data',
    'zstd level',
    'MiB',
    'ratio',
    'saving MB/s',
    'to none',
    'restoring MB/s',
    'to none',
    'spread of saving',
  ],
  rows: data.map((row) => {
    const none = data.find((each) => each.kind === row.kind && each.level === 0)
    const { saved, restored } = row
    return [
      row.kind,
      row.level === 0 ? 'none' : String(row.level),
      number(row.byteLength / MIB),
      // A file of zeros contains only its tail.
      number(row.byteLength / Math.max(1, row.allocatedBytes)),
      number(speed(row, saved.p50)),
      ratio(speed(row, saved.p50), speed(none, none.saved.p50)),
      number(speed(row, restored.p50)),
      ratio(speed(row, restored.p50), speed(none, none.restored.p50)),
      `${number(speed(row, saved.max))}–${number(speed(row, saved.min))}`,
    ]
  }),
  note:
    'MB/s of the data: saved until durable, restored as a verified copy from a file that is not in the page cache; medians. ' +
    'Ratio: of the data to what the file takes on the disk.',
})

export const bench = {
  name: 'micro',
  title: 'Single calls and compression',
  about:
    'Times freeze and abort, prepareWrite, restore and inspect; saves real kinds of data at levels of zstd.',
  settings: {
    full: {
      byteLength: 256 * MIB,
      iterations: 50,
      timeMs: 1000,
      dataBytes: 256 * MIB,
      levels: [0, 1, 3, 6, 9],
      rounds: 3,
    },
    quick: { iterations: 6, timeMs: 100, dataBytes: 32 * MIB, levels: [0, 1, 3], rounds: 1 },
  },
  measure,
  tables: ({ rows }) => [
    ...(rows.pieces.length === 0 ? [] : [piecesTable(rows.pieces)]),
    ...(rows.calls.length === 0 ? [] : [callsTable(rows.calls, rows.pieces)]),
    ...(rows.data.length === 0 ? [] : [dataTable(rows.data)]),
  ],
  plots: () => [],
}

runIfMain(import.meta.url, bench)
