// How does a snapshot compare with other methods of writing large memory to disk, and with the disk
// itself?
//
// All hold the same bytes, made from a seed and half compressible, from the first to the last
// measurement: a Node service with a Region, a Redis server, and a Node service with a Buffer for
// gcore. In each round all of them save in turns, once at rest and once while 8-byte words at
// random places are written at a steady rate and a client in this process reads and writes others,
// once per millisecond. After the rounds each saves once more under these writes while its memory
// is observed from outside, separately because the observation slows it down.
import { mkdirSync, readFileSync } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runIfMain } from './support/alone.mjs'
import { whyNoCompression } from './support/compression.mjs'
import { ddRead, ddWrite, dropCache, isInstalled, runProgram, syncFile } from './support/disk.mjs'
import { usableEngines } from './support/engines.mjs'
import { MemoryWatch } from './support/memory-watch.mjs'
import { GIB, MIB } from './support/pages.mjs'
import { latencyFigures, probe, sharedNow, WordClient } from './support/probe.mjs'
import { processorSeconds } from './support/processor-time.mjs'
import { randomIntegers } from './support/random.mjs'
import { RedisServer, VALUE_BYTES } from './support/redis.mjs'
import { availableMemory, whyNoRoom } from './support/room.mjs'
import { Service } from './support/service.mjs'
import { summary } from './support/statistics.mjs'
import { number, ratio, size } from './support/table.mjs'
import { warmMemory } from './support/warm-memory.mjs'

const WRITES_PER_SECOND = 10_000
const BEFORE_MS = 500
const AFTER_MS = 100
const ZSTD_LEVEL = 1
// For the plot of latencies over time: each interval of this length shows its longest latency.
const BUCKET_MS = 10
// Ratios are relative to the first of these that works here.
const preferred = ['userfaultfd signal', 'mprotect', 'userfaultfd thread', 'fork']
const sizeStep = 64 * MIB

/** A method of saving, and the process that serves the data meanwhile. */
const inService = (service, name, options, path) => ({
  name,
  path,
  pid: service.pid,
  settle: () => service.call('settle'),
  save: () => service.call('save', { ...options, path }),
  startWriting: (seed) => service.call('startWriting', { perSecond: WRITES_PER_SECOND, seed }),
  stopWriting: () => service.call('stopWriting'),
  async connect() {
    const client = await WordClient.connect(service.port)
    return { ask: (what, where) => client.ask(what, where), close: () => client.close() }
  },
})

const inRedis = (server, directory, compressed, byteLength) => {
  const path = join(directory, compressed ? 'compressed.rdb' : 'plain.rdb')
  let stop
  return {
    name: `Redis BGSAVE, ${compressed ? 'compressed' : 'plain'}`,
    path,
    isRedis: true,
    get pid() {
      return server.pid
    },
    settle: () => {},
    async save() {
      await server.configure('rdbcompression', compressed ? 'yes' : 'no')
      const beganAt = sharedNow()
      const saved = await server.save(path)
      const { blocks } = await stat(path)
      return { ...saved, beganAt, endedAt: sharedNow(), fileBytes: blocks * 512 }
    },
    startWriting: async (seed) => {
      stop = server.write(WRITES_PER_SECOND, randomIntegers(seed), byteLength)
    },
    stopWriting: async () => stop(),
    connect: async () => ({ ask: (what, where) => server.ask(what, where), close: () => {} }),
  }
}

/** Milliseconds from the first to the last sample in which a debugger had stopped the process. */
const watchStops = (pid) => {
  let first
  let last
  const timer = setInterval(() => {
    if (!/^State:\s+t/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))) return
    last = performance.now()
    first ??= last
  }, 1)
  return () => {
    clearInterval(timer)
    return first === undefined ? undefined : last - first
  }
}

const inGcore = (service, directory) => {
  const path = join(directory, `core.${service.pid}`)
  let helper
  return {
    ...inService(service, 'gcore', {}, path),
    byThisProcess: true,
    /** The program that saves, while it is running. */
    helper: () => helper,
    async save() {
      const beganAt = sharedNow()
      const started = performance.now()
      const stopped = watchStops(service.pid)
      await runProgram('gcore', ['-o', join(directory, 'core'), String(service.pid)], (pid) => {
        helper = pid
      })
      helper = undefined
      const pauseMs = stopped()
      await syncFile(path)
      const durationMs = performance.now() - started
      const { blocks } = await stat(path)
      return { pauseMs, durationMs, beganAt, endedAt: sharedNow(), fileBytes: blocks * 512 }
    },
  }
}

/**
 * CPU seconds of a service, of its forked children, and of the programs that this process has run.
 */
const processorMeter = ({ pid, byThisProcess }) => {
  const now = () => {
    const { own, waitedFor } = processorSeconds(pid)
    return own + waitedFor + (byThisProcess ? processorSeconds(process.pid).waitedFor : 0)
  }
  const before = now()
  return () => now() - before
}

const saveAtRest = async (way) => {
  await way.settle()
  const meter = processorMeter(way)
  const saved = await way.save()
  return { ...saved, cpuSeconds: meter() }
}

/** Also returns the latencies before and during the save. */
const saveUnderWrites = async (way, byteLength, seed) => {
  await way.settle()
  const client = await way.connect()
  try {
    await way.startWriting(seed)
    const stopProbing = probe(client.ask, randomIntegers(seed + 1), byteLength / 8)
    await sleep(BEFORE_MS)
    const saved = await way.save()
    await sleep(AFTER_MS)
    const samples = await stopProbing()
    const writesPerSecond = await way.stopWriting()
    const { beganAt, endedAt } = saved
    const before = samples.filter(([at, ms]) => at + ms < beganAt)
    const during = samples.filter(([at, ms]) => at + ms >= beganAt && at <= endedAt)
    return { ...saved, writesPerSecond, samples, before, during }
  } finally {
    client.close()
  }
}

const saveWatched = async (way, seed) => {
  await way.settle()
  await way.startWriting(seed)
  await sleep(AFTER_MS)
  const watch = new MemoryWatch(way.pid, way.helper)
  watch.begin()
  try {
    await way.save()
  } finally {
    await way.stopWriting()
  }
  const { samples, peakBytes } = watch.end()
  if (peakBytes === undefined) throw new Error(`its memory cannot be seen: ${watch.error.message}`)
  return { samples, peakBytes }
}

/** `[ms since the call, the longest latency of requests at that time]`, for the plot. */
const latencyOverTime = ({ samples, beganAt }) => {
  const longest = new Map()
  for (const [at, ms] of samples) {
    const bucket = Math.floor((at - beganAt) / BUCKET_MS)
    longest.set(bucket, Math.max(longest.get(bucket) ?? 0, ms))
  }
  return [...longest].sort(([a], [b]) => a - b).map(([bucket, ms]) => [bucket * BUCKET_MS, ms])
}

/** The restores to measure, each from a file that one of the methods has left. */
const restoresOf = (ways, service, redis, compressed) => {
  const pathOf = (name) => ways.find((way) => way.name === name)?.path
  const own = preferred.map((engine) => pathOf(`stillframe ${engine}`)).find(Boolean)
  const call = (name, path, way, options) => ({
    name,
    path,
    run: async () => (await service.call('restore', { way, path, options })).ms,
  })
  const load = (way) => ({
    name: way.name.replace('BGSAVE', 'load'),
    path: way.path,
    run: async () => {
      await redis.stop()
      await dropCache(way.path)
      return redis.start(way.path)
    },
  })
  return [
    call('stillframe map, verify false, to the first read', own, 'stillframe', { verify: false }),
    call('stillframe map, verify true', own, 'stillframe', { mode: 'map' }),
    call('stillframe copy, verify true', own, 'stillframe', { mode: 'copy' }),
    ...(compressed
      ? [
          call('stillframe copy, zstd', pathOf(`stillframe zstd ${ZSTD_LEVEL}`), 'stillframe', {
            mode: 'copy',
          }),
        ]
      : []),
    ...ways.filter(({ isRedis }) => isRedis).map(load),
    call('fs.readFile', pathOf('fs.writeFile'), 'fs.readFile'),
    call('v8.deserialize', pathOf('v8.serialize'), 'v8.deserialize'),
  ].filter(({ path }) => path !== undefined)
}

/** Collects measurements by name. A method that has failed once is left out from then on. */
class Findings {
  rows = []
  #skipped
  #failed = new Set()

  constructor(skipped) {
    this.#skipped = skipped
  }

  async add(kind, name, measureOnce) {
    if (this.#failed.has(name)) return
    try {
      const measured = await measureOnce()
      this.rows.push({ kind, name, ...measured })
    } catch (error) {
      this.#failed.add(name)
      this.#skipped.push({ what: name, reason: `failed: ${error.message.split('\n')[0]}` })
      process.exitCode = 1
    }
  }

  latenciesOf(name) {
    return this.rows.filter((row) => row.kind === 'writes' && row.name === name)
  }
}

const startRedis = async (directory, byteLength, seed) => {
  const server = new RedisServer(directory)
  await server.start()
  await server.fill(byteLength, seed)
  return server
}

/** Starts all participants; `closing` collects functions that end them. */
const gather = async (byteLength, { seed, directory, note, skipped }, closing) => {
  const start = async (memory) => {
    const service = await Service.start({ memory, byteLength, seed })
    closing.push(() => service.close())
    return service
  }
  const engines = await usableEngines(directory, skipped)
  const service = await start('region')
  const own = (name, options) =>
    inService(service, name, options, join(directory, `${name.replaceAll(/\W/g, '-')}.image`))
  const ways = engines.map((engine) => own(`stillframe ${engine}`, { way: 'stillframe', engine }))
  const first = preferred.find((engine) => engines.includes(engine))
  const noCompression = await whyNoCompression(directory)
  const zstd = `stillframe zstd ${ZSTD_LEVEL}`
  if (noCompression.saving !== undefined) skipped.push({ what: zstd, reason: noCompression.saving })
  else {
    const compression = { codec: 'zstd', level: ZSTD_LEVEL }
    ways.push(own(zstd, { way: 'stillframe', engine: first, compression }))
    if (noCompression.restoring !== undefined)
      skipped.push({ what: `restoring ${zstd}`, reason: noCompression.restoring })
  }
  let redis
  if (!isInstalled('redis-server')) skipped.push({ what: 'Redis', reason: 'redis-server is not installed' })
  else {
    note('versus: filling Redis')
    redis = await startRedis(directory, byteLength, seed)
    closing.push(() => redis.close())
    for (const compressed of [false, true]) ways.push(inRedis(redis, directory, compressed, byteLength))
  }
  for (const way of ['fs.writeFile', 'v8.serialize']) ways.push(own(way, { way }))
  if (!isInstalled('gdb') || !isInstalled('gcore')) {
    skipped.push({ what: 'gcore', reason: 'gcore (of gdb) is not installed' })
  } else ways.push(inGcore(await start('buffer'), directory))
  return { ways, redis, service, first, compressed: noCompression.restoring === undefined }
}

const measureDisk = async (findings, directory, byteLength) => {
  const path = join(directory, 'dd')
  await findings.add('rest', 'dd write', async () => ({ durationMs: await ddWrite(path, byteLength) }))
  await findings.add('restore', 'dd read', async () => ({ ms: await ddRead(path) }))
  await rm(path, { force: true })
}

const measureAll = async (ways, restores, { rounds, byteLength }, { seed, directory, note, skipped }) => {
  const findings = new Findings(skipped)
  for (let round = 0; round < rounds; round++) {
    note(`versus: round ${round + 1} of ${rounds}`)
    await measureDisk(findings, directory, byteLength)
    for (let turn = 0; turn < ways.length; turn++) {
      const way = ways[(round + turn) % ways.length]
      await findings.add('rest', way.name, () => saveAtRest(way))
      await findings.add('writes', way.name, () => saveUnderWrites(way, byteLength, seed + round))
      for (const { name, path, run } of restores.filter((each) => each.path === way.path)) {
        await findings.add('restore', name, async () => {
          await dropCache(path)
          // Methods that read into a copy and make another one need it twice.
          await warmMemory(2 * byteLength)
          return { ms: await run() }
        })
      }
      await rm(way.path, { force: true })
    }
  }
  for (const way of ways) {
    note(`versus: memory of ${way.name}`)
    await findings.add('memory', way.name, () => saveWatched(way, seed))
    await rm(way.path, { force: true })
  }
  return findings
}

/** Latencies as figures over all rounds, and those of the last round over time. */
const latencyRows = (ways, findings) =>
  ways
    .map(({ name }) => ({ name, runs: findings.latenciesOf(name) }))
    .filter(({ runs }) => runs.length > 0)
    .map(({ name, runs }) => {
      const figures = (part) => latencyFigures(runs.flatMap((run) => run[part].map(([, ms]) => ms)))
      const last = runs.at(-1)
      return {
        name,
        before: figures('before'),
        during: figures('during'),
        writesPerSecond: runs.map((run) => run.writesPerSecond),
        durationMs: last.durationMs,
        overTime: latencyOverTime(last),
      }
    })

const measure = async (settings, context) => {
  // All of them hold the data at the same time, and some need it twice while they save.
  const most = Math.floor(availableMemory() / 8 / sizeStep) * sizeStep
  const byteLength = Math.min(settings.byteLength, most)
  const reason = whyNoRoom(context.directory, { memory: 6 * byteLength, disk: 3 * byteLength })
  if (reason !== undefined || byteLength === 0) {
    context.skipped.push({ what: 'versus', reason: reason ?? 'not enough memory' })
    return undefined
  }
  const directory = join(context.directory, 'versus')
  mkdirSync(directory, { recursive: true })
  const closing = []
  try {
    const inside = { ...context, directory }
    const { ways, redis, service, first, compressed } = await gather(byteLength, inside, closing)
    const restores = restoresOf(ways, service, redis, compressed)
    const findings = await measureAll(ways, restores, { ...settings, byteLength }, inside)
    return {
      byteLength,
      base: `stillframe ${first}`,
      names: ways.map(({ name }) => name),
      // The samples themselves would take megabytes.
      saves: findings.rows
        .filter(({ kind }) => kind === 'rest' || kind === 'writes')
        .map(({ samples, before, during, ...row }) => row),
      restores: findings.rows.filter(({ kind }) => kind === 'restore'),
      memory: findings.rows.filter(({ kind }) => kind === 'memory'),
      latencies: latencyRows(ways, findings),
    }
  } finally {
    for (const close of closing) await close()
  }
}

const valuesOf = (list, kind, name, key) =>
  list
    .filter((row) => row.kind === kind && row.name === name)
    .map((row) => row[key])
    .filter(Number.isFinite)

const medianOf = (values) => (values.length === 0 ? undefined : summary(values).p50)

/** The median, and the range if there are several values. */
const spread = (values) => {
  if (values.length === 0) return '-'
  const { min, p50, max } = summary(values)
  return values.length === 1 ? number(p50) : `${number(p50)} (${number(min)}–${number(max)})`
}

/**
 * For a result: speed of a method in MB/s, the median of all rounds. Undefined if it was not
 * measured.
 */
export const saveSpeed = (rows, name, kind = 'rest') => {
  const ms = medianOf(valuesOf(rows.saves, kind, name, 'durationMs'))
  return ms === undefined ? undefined : rows.byteLength / 1000 / ms
}

export const restoreMs = (rows, name) => medianOf(valuesOf(rows.restores, 'restore', name, 'ms'))
export const pauseMs = (rows, name) => medianOf(valuesOf(rows.saves, 'rest', name, 'pauseMs'))

const saveTable = (rows, kind, title) => {
  const { byteLength, base, memory } = rows
  const of = (name, key) => valuesOf(rows.saves, kind, name, key)
  const names = kind === 'rest' ? ['dd write', ...rows.names] : rows.names
  return {
    title,
    columns: [
      'way',
      'pause ms',
      'to the base',
      'until durable ms',
      'MB/s',
      'to the base',
      'to dd',
      ...(kind === 'rest' ? ['CPU s', 'file MiB'] : ['extra memory MiB', 'writes/s']),
    ],
    rows: names
      .filter((name) => of(name, 'durationMs').length > 0)
      .map((name) => {
        const speed = saveSpeed(rows, name, kind)
        const peak = memory.find((row) => row.name === name)?.peakBytes
        return [
          name,
          spread(of(name, 'pauseMs')),
          ratio(medianOf(of(name, 'pauseMs')), medianOf(of(base, 'pauseMs'))),
          spread(of(name, 'durationMs')),
          number(speed),
          ratio(speed, saveSpeed(rows, base, kind)),
          ratio(speed, saveSpeed(rows, 'dd write')),
          ...(kind === 'rest'
            ? [number(medianOf(of(name, 'cpuSeconds'))), number(medianOf(of(name, 'fileBytes')) / MIB)]
            : [number(peak / MIB), number(medianOf(of(name, 'writesPerSecond')))]),
        ]
      }),
    note:
      `Of ${size(byteLength)}. Medians, in parentheses the least and the most. The base: ${base}. MB/s: of the data, ` +
      `not of the file.${kind === 'rest' ? '' : ` Written: ${WRITES_PER_SECOND} words of 8 bytes a second. Extra memory: seen from outside in a save of its own.`}`,
  }
}

const restoreTable = (rows) => {
  const names = [...new Set(rows.restores.map(({ name }) => name))]
  const base = 'stillframe copy, verify true'
  const speed = (name) => rows.byteLength / 1000 / restoreMs(rows, name)
  return {
    title: 'Restoring a file that is not in the page cache',
    columns: ['way', 'ms', 'MB/s', 'time to the base', 'speed to dd'],
    rows: names.map((name) => [
      name,
      spread(valuesOf(rows.restores, 'restore', name, 'ms')),
      name.endsWith('first read') ? '-' : number(speed(name)),
      ratio(restoreMs(rows, name), restoreMs(rows, base)),
      name.endsWith('first read') ? '-' : ratio(speed(name), speed('dd read')),
    ]),
    note:
      `Of ${size(rows.byteLength)}. The base: ${base}. Redis: from the start of the program to its first answer; gcore ` +
      'has no way back.',
  }
}

const latencyTable = ({ latencies, byteLength, base }) => {
  const own = latencies.find(({ name }) => name === base)?.during
  return {
    title: `Latency of requests while ${size(byteLength)} is saved, in ms`,
    columns: [
      'way',
      'meanwhile',
      'requests',
      'p50',
      'p99',
      'p99.9',
      'max',
      'p99 to the base',
      'max to the base',
    ],
    rows: latencies.flatMap(({ name, before, during }) =>
      [
        ['just before', before],
        ['save', during],
      ].map(([what, figures]) => [
        name,
        what,
        String(figures.count),
        ...[figures.p50, figures.p99, figures.p999, figures.max].map(number),
        what === 'save' ? ratio(figures.p99, own?.p99) : '-',
        what === 'save' ? ratio(figures.max, own?.max) : '-',
      ]),
    ),
    note:
      'One request a millisecond from another process, whether or not the ones before have been answered; reads and ' +
      `writes of 8 bytes in turns, under the writes of the table above. The base: ${base}.`,
  }
}

const tables = ({ rows }) =>
  rows === undefined
    ? []
    : [
        saveTable(rows, 'rest', 'Saving, nothing else going on'),
        saveTable(rows, 'writes', 'Saving under writes'),
        latencyTable(rows),
        restoreTable(rows),
      ]

const plots = ({ rows }) => {
  if (rows === undefined) return []
  const measured = rows.names.filter((name) => saveSpeed(rows, name) !== undefined)
  return [
    {
      kind: 'bars',
      file: 'versus-throughput',
      title: `Saving ${size(rows.byteLength)}: MB of data a second until it is durable`,
      y: { title: 'MB/s' },
      names: ['dd write', ...measured],
      series: [
        { name: 'at rest', values: ['dd write', ...measured].map((name) => saveSpeed(rows, name)) },
        {
          name: 'under writes',
          values: [undefined, ...measured.map((name) => saveSpeed(rows, name, 'writes'))],
        },
      ],
    },
    {
      file: 'versus-latency',
      title: `Latency of requests while ${size(rows.byteLength)} is saved`,
      subtitle: `last round; the longest of each ${BUCKET_MS} ms; a save begins at 0`,
      x: { title: 'time since the call, s' },
      y: { title: 'latency, ms', log: true },
      markers: false,
      // Ours are drawn last, on top of methods that take longer.
      series: rows.latencies
        .slice()
        .reverse()
        .map(({ name, overTime }) => ({
          name,
          look: name.replace(/^stillframe /, ''),
          points: overTime.filter(([at]) => at >= -AFTER_MS).map(([at, ms]) => [at / 1000, ms]),
        })),
    },
    {
      file: 'versus-memory',
      title: `Memory above that at rest while ${size(rows.byteLength)} is saved under writes`,
      subtitle: 'service and what it has forked, seen from outside',
      x: { title: 'time since the call, s' },
      y: { title: 'extra memory, MiB', min: 0 },
      markers: false,
      series: rows.memory.map(({ name, samples }) => ({
        name,
        look: name.replace(/^stillframe /, ''),
        points: samples.map(([at, bytes]) => [at / 1000, bytes / MIB]),
      })),
    },
  ]
}

export const bench = {
  name: 'versus',
  title: 'Beside Redis, gcore, fs.writeFile, v8.serialize and the disk itself',
  about: 'Saves and restores the same bytes with stillframe and its peers in turns, with and without writes.',
  settings: {
    full: { byteLength: GIB, rounds: 3, redisValueBytes: VALUE_BYTES, writesPerSecond: WRITES_PER_SECOND },
    quick: { byteLength: 256 * MIB, rounds: 1 },
  },
  measure,
  tables,
  plots,
}

await runIfMain(import.meta.url, bench)
