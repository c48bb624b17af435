// How soon is a service back? Measures the time from `node server.js` to its first answered
// request, with the memory of an archive whose newest frame is read from a full file and many
// deltas. Compared with reading the same bytes with fs.readFile, and with Redis, which loads the
// same amount. Each starts with its files out of the page cache, in turns.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync } from 'node:fs'
import { open, rename } from 'node:fs/promises'
import { get } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { Region } from 'stillframe'
import { openArchive } from 'stillframe/archive'
import { runIfMain } from './support/alone.mjs'
import { dropCache, isInstalled } from './support/disk.mjs'
import { madeData } from './support/made-data.mjs'
import { GIB, HUGE_PAGE, MIB } from './support/pages.mjs'
import { shuffled } from './support/random.mjs'
import { RedisServer } from './support/redis.mjs'
import { whyNoRoom } from './support/room.mjs'
import { runScenario } from './support/scenario.mjs'
import { summary } from './support/statistics.mjs'
import { number, ratio, size } from './support/table.mjs'
import { warmMemory } from './support/warm-memory.mjs'

const program = fileURLToPath(new URL('./support/returning-service.mjs', import.meta.url))
const PREPARE_PATIENCE_MS = 1_200_000
const START_PATIENCE_MS = 300_000
// fs.readFile refuses files of more than 2 GiB.
const PIECE_BYTES = GIB

/** The methods of returning-service.mjs, by their names in the table. */
const serviceWays = {
  'a service without data': 'nothing',
  'archive, map, verify: false': 'map unverified',
  'archive, map': 'map',
  'archive, copy': 'copy',
  'fs.readFile': 'readFile',
}
const base = 'fs.readFile'

export const scenarios = {
  /**
   * Captures the frames, and also writes the memory of the newest one to plain files. Returns the
   * word in the middle.
   */
  async prepare({ byteLength, deltas, changedShare, seed, directory }) {
    const region = Region.allocate(byteLength)
    const units = byteLength / HUGE_PAGE
    const unitAt = (unit) => new Uint8Array(region.buffer, unit * HUGE_PAGE, HUGE_PAGE)
    const fill = madeData(seed)
    for (let unit = 0; unit < units; unit++) fill(unitAt(unit))
    // No frame must become a full file meanwhile.
    const archive = await openArchive(join(directory, 'frames'), { fullEvery: 200 })
    await archive.capture(region).done
    for (let frame = 1; frame <= deltas; frame++) {
      const changed = shuffled(units, seed + frame).subarray(0, Math.ceil(units * changedShare))
      for (const unit of changed) fill(unitAt(unit))
      await archive.capture(region).done
    }
    await archive.close()
    mkdirSync(join(directory, 'pieces'))
    for (let at = 0; at < byteLength; at += PIECE_BYTES) {
      const file = await open(join(directory, 'pieces', String(at / PIECE_BYTES).padStart(6, '0')), 'w')
      const length = Math.min(PIECE_BYTES, byteLength - at)
      for (let done = 0; done < length; )
        done += (await file.write(new Uint8Array(region.buffer, at + done, length - done))).bytesWritten
      await file.sync()
      await file.close()
    }
    return new Uint32Array(region.buffer, byteLength / 2, 1)[0]
  },
}

/** Time from the start of the program to its first answer, in milliseconds, and that answer. */
const timeToAnswer = async (way, directory) => {
  const started = performance.now()
  const child = spawn(process.execPath, [program, way, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exit = once(child, 'exit')
  const timer = setTimeout(() => child.kill('SIGKILL'), START_PATIENCE_MS)
  try {
    const listening = once(createInterface({ input: child.stdout }), 'line')
    const [port] = await Promise.race([
      listening,
      exit.then(([status, signal]) =>
        Promise.reject(new Error(`the service ended by ${signal ?? `status ${status}`}`)),
      ),
    ])
    const request = get({ host: '127.0.0.1', port: Number(port), agent: false })
    const [response] = await once(request, 'response')
    const word = Number(await text(response))
    return { ms: performance.now() - started, word }
  } finally {
    clearTimeout(timer)
    child.kill('SIGKILL')
    await exit
  }
}

const filesIn = (directory) => readdirSync(directory).map((name) => join(directory, name))

/** Each method of starting: the files that it reads, and how to time it. */
const waysOf = (directory, expected) =>
  Object.entries(serviceWays).map(([name, way]) => ({
    name,
    files: () => {
      if (way === 'nothing') return []
      return filesIn(join(directory, way === 'readFile' ? 'pieces' : 'frames'))
    },
    async run() {
      const { ms, word } = await timeToAnswer(way, directory)
      if (way !== 'nothing' && word !== expected) throw new Error(`${name} brought back ${word}`)
      return ms
    },
  }))

/** Redis, with a plain file and a compressed one. It is filled once, and then ends. */
const redisWays = async (directory, byteLength, seed, note) => {
  const place = join(directory, 'redis')
  mkdirSync(place)
  const server = new RedisServer(place)
  const files = { plain: join(place, 'plain.rdb'), compressed: join(place, 'compressed.rdb') }
  try {
    note('archive: filling Redis')
    await server.start()
    await server.fill(byteLength, seed)
    for (const [kind, path] of Object.entries(files)) {
      await server.configure('rdbcompression', kind === 'plain' ? 'no' : 'yes')
      await server.save(path)
    }
  } finally {
    await server.close()
  }
  return Object.entries(files).map(([kind, path]) => ({
    name: `Redis, ${kind}`,
    files: () => [path],
    async run() {
      const loading = new RedisServer(place)
      try {
        return await loading.start(path)
      } finally {
        await loading.close()
        await rename(join(place, 'dump.rdb'), path)
      }
    },
  }))
}

const measureAll = async (ways, { rounds, byteLength }, { note, skipped }) => {
  const times = new Map(ways.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    note(`archive: round ${round + 1} of ${rounds}`)
    for (let turn = 0; turn < ways.length; turn++) {
      const { name, files, run } = ways[(round + turn) % ways.length]
      // A method that has failed is left out from then on.
      if (!times.has(name)) continue
      try {
        for (const path of files()) await dropCache(path)
        await warmMemory(byteLength)
        times.get(name).push(await run())
      } catch (error) {
        times.delete(name)
        skipped.push({ what: name, reason: `failed: ${error.message.split('\n')[0]}` })
        process.exitCode = 1
      }
    }
  }
  return ways
    .filter(({ name }) => times.has(name))
    .map(({ name }) => ({ name, ms: summary(times.get(name)) }))
}

const measure = async (settings, context) => {
  const { byteLength, deltas, changedShare } = settings
  const { seed, directory: parent, note, skipped } = context
  // The memory, again for Redis's copy-on-write; its frames, the plain files, and two files of
  // Redis.
  const need = { memory: 1.5 * byteLength, disk: (4 + deltas * changedShare) * byteLength }
  const reason = whyNoRoom(parent, need)
  if (reason !== undefined) {
    skipped.push({ what: `memory of ${size(byteLength)}`, reason })
    return []
  }
  const directory = join(parent, 'archive')
  mkdirSync(directory)
  note('archive: taking the frames')
  const options = { byteLength, deltas, changedShare, seed, directory }
  const expected = await runScenario(import.meta.url, 'prepare', options, { timeoutMs: PREPARE_PATIENCE_MS })
  const ways = waysOf(directory, expected)
  if (isInstalled('redis-server')) ways.push(...(await redisWays(directory, byteLength, seed, note)))
  else skipped.push({ what: 'Redis', reason: 'redis-server is not installed' })
  return await measureAll(ways, settings, context)
}

const startTable = (rows, { byteLength, deltas, changedShare, rounds }) => {
  const medianOf = (wanted) => rows.find(({ name }) => name === wanted)?.ms.p50
  return {
    title: `From the start of the program to its first answer, ${size(byteLength)}, one full frame and ${deltas} deltas`,
    columns: ['way', 'median, ms', 'shortest', 'longest', `to ${base}`, 'to Redis, plain'],
    rows: rows.map(({ name, ms }) => [
      name,
      number(ms.p50),
      number(ms.min),
      number(ms.max),
      ratio(ms.p50, medianOf(base)),
      ratio(ms.p50, medianOf('Redis, plain')),
    ]),
    note: `Medians of ${rounds}, taken by turns, files not in the page cache. Before each delta ${number(100 * changedShare)} % of the memory were written, in units of 2 MiB. Redis has as many bytes, not the same ones. With map and verify: false nobody has looked at the bytes but those that were asked for.`,
  }
}

export const bench = {
  name: 'archive',
  title: 'A service that comes back from its archive',
  about:
    'Starts a service with an archive of many deltas, beside fs.readFile and Redis, to the first answer.',
  settings: {
    full: { byteLength: 4 * GIB, deltas: 16, changedShare: 0.01, rounds: 3 },
    quick: { byteLength: 256 * MIB, deltas: 16, changedShare: 0.01, rounds: 2 },
  },
  measure,
  tables: ({ rows, settings }) => (rows.length > 0 ? [startTable(rows, settings)] : []),
  plots: () => [],
}

runIfMain(import.meta.url, bench)
