/** `stillframe demo`: saves live memory in every way this machine can, side by side in one run. */

import { rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { capabilities, type EngineName, preflight, Region } from '../index.js'
import { type Arguments, type Command, CommandError, UsageError } from './command.js'
import { snapshotWith } from './demo/engine.js'
import { defaultDirectory, describeMachine, type FileSystem, fileSystemOf } from './machine.js'
import { type Measurement, measure, measureAlone, type Stage } from './demo/measure.js'
import { copyInTurns, fillSeeded, pageBytes } from './demo/memory.js'
import { copyThenWrite } from './demo/naive.js'
import { figuresTable, footnotes, ratiosTable, ratiosTo } from './demo/report.js'
import { Service, type ServiceReport, targetWritesPerSecond } from './demo/service.js'
import type { Way } from './demo/way.js'
import type { Io } from './io.js'
import { formatBytes, formatCount, parseBytes } from './units.js'

const defaultBytes = 2 ** 30
/** Smaller memory is saved too quickly for any figure to mean much, and a machine always has this much. */
const smallestBytes = 2 ** 20
/** The region, the oracle and one more: the naive copy, a restored copy, or copy-on-write at its worst. */
const copiesInMemory = 3
/** Left to Node, the kernel and everybody else. */
const spareBytes = 2 ** 28

export const demo: Command = {
  name: 'demo',
  summary: 'save live memory in every way this machine can, and compare',
  positionals: [],
  options: {
    size: { type: 'string', placeholder: 'BYTES', help: 'memory to save, such as 512MiB (default 1GiB)' },
    engine: {
      type: 'string',
      placeholder: 'NAME',
      multiple: true,
      help: 'only this engine; may be given more than once (default: all available)',
    },
    dir: {
      type: 'string',
      placeholder: 'DIR',
      help: 'where the files go (default: the temporary directory)',
    },
    keep: { type: 'boolean', help: 'keep the files and say where they are' },
    seed: { type: 'string', placeholder: 'N', help: 'seed of the contents and of the writes (default 1)' },
  },
  details: `
A service changes random pages the whole time, ${targetWritesPerSecond / 1000} thousand a second, on the event loop that is measured.
Its memory is saved by each engine, and once by copying all of it and writing the copy: in one run,
under the same load. Every file is read back and compared byte for byte with the memory as it was at
the call. Needs three times the size in memory and takes less where memory is short.`,

  async run(args, io) {
    const request = readRequest(args)
    const parent = resolve(request.directory ?? (await defaultDirectory()))
    const directory = await mkdtemp(join(parent, 'stillframe-demo-'))
    // Whatever happens, also process.exit() in the middle: no gigabytes are left behind.
    const remove = (): void => rmSync(directory, { recursive: true, force: true })
    process.once('exit', remove)
    try {
      const status = await runDemo(request, directory, io)
      if (request.keep) process.removeListener('exit', remove)
      else remove()
      return status
    } catch (error) {
      remove()
      throw error
    }
  },
}

async function runDemo(request: DemoRequest, directory: string, io: Io): Promise<number> {
  const engines = chooseEngines(request.engines)
  const disk = await fileSystemOf(directory)
  const room = await findRoom(request, directory, disk, engines.length)

  const intro = heading(request, room, directory, disk, io).map((line) => `  ${line}`)
  await io.print(['', ...intro, ''])

  using region = Region.allocate(room.bytes)
  using oracle = Region.allocate(room.bytes, { name: 'oracle' })
  using warm = Region.allocate(room.bytes, { name: 'warm' })
  const stage: Stage = { region, oracle, io, service: new Service(region.buffer, request.seed) }
  await prepare(stage, warm, request.seed)

  const alone = await measureAlone(stage)
  const ways: Way[] = [copyThenWrite(region, warm), ...engines.map((engine) => snapshotWith(engine, region))]
  const measurements: Measurement[] = []
  for (const way of ways) {
    const path = join(directory, way.engine === undefined ? 'naive.bin' : `${way.engine}.stillframe`)
    measurements.push(await measure(way, path, stage))
    // One file at a time: there may be room for only one.
    if (!request.keep) await rm(path, { force: true })
  }
  return await conclude({ request, room, directory, disk, alone, measurements }, io)
}

/** The engines to show: those asked for, or every one that is available, best first. */
function chooseEngines(asked: readonly string[]): EngineName[] {
  const { engines } = capabilities()
  const names = Object.keys(engines) as EngineName[]
  for (const name of asked) {
    if (!Object.hasOwn(engines, name)) {
      throw new UsageError(`unknown engine '${name}'`, `Engines: ${names.join(', ')}.`)
    }
    const { available, reason } = engines[name as EngineName]
    if (!available) throw new CommandError(`engine '${name}' is not available here: ${reason}`)
  }
  const used = names.filter((name) => (asked.length === 0 ? engines[name].available : asked.includes(name)))
  if (used.length === 0) {
    throw new CommandError("no engine is available here; 'stillframe doctor' says why and what to change")
  }
  return used
}

/** How much memory is saved, and why it is less than asked for. */
interface Room {
  bytes: number
  /** Completes "… is taken, because"; undefined when there is room for all. */
  shortage: string | undefined
}

/** As much as was asked for, or as much as memory and disk have room for. */
async function findRoom(
  request: DemoRequest,
  directory: string,
  disk: FileSystem,
  engineCount: number,
): Promise<Room> {
  using probe = Region.allocate(pageBytes)
  const { availableBytes, freeDiskBytes } = await preflight(probe, join(directory, 'probe'))
  const files = request.keep ? engineCount + 1 : 1
  // Files on a filesystem in memory take what the copies need.
  const inMemory = copiesInMemory + (disk.inMemory ? files : 0)
  const byMemory = Math.max(0, availableBytes - spareBytes) / inMemory
  const byDisk = Math.max(0, freeDiskBytes - spareBytes) / files
  const bytes = wholePages(Math.min(request.bytes, byMemory, byDisk))
  const wanted = wholePages(request.bytes)
  if (bytes < smallestBytes) {
    throw new CommandError(
      byMemory < byDisk
        ? `there is no room: ${formatBytes(availableBytes)} of memory are available`
        : `there is no room: ${formatBytes(freeDiskBytes)} are free on the disk; choose another with --dir`,
    )
  }
  if (bytes === wanted) return { bytes, shortage: undefined }
  const shortage =
    byMemory < byDisk
      ? `the demo needs ${inMemory} times that and ${formatBytes(availableBytes)} of memory are available`
      : `the demo writes ${files} such file${files === 1 ? '' : 's'} and ${formatBytes(freeDiskBytes)} are free on the disk`
  return { bytes, shortage }
}

function wholePages(bytes: number): number {
  return Math.floor(bytes / pageBytes) * pageBytes
}

/** Fills the memory, and touches all that will be needed later, so that no way pays for being the first. */
async function prepare({ region, oracle, io }: Stage, warm: Region, seed: number): Promise<void> {
  const { signal } = io
  const size = region.byteLength
  const bar = io.progress('preparing memory', copiesInMemory * size)
  try {
    await fillSeeded(region.buffer, seed, signal, (bytesDone) => bar.update(bytesDone))
    await copyInTurns(region.buffer, oracle.buffer, signal, (bytesDone) => bar.update(size + bytesDone))
    await copyInTurns(region.buffer, warm.buffer, signal, (bytesDone) => bar.update(2 * size + bytesDone))
  } finally {
    bar.stop()
  }
}

/** What is about to be done, and where: said before it is done. */
function heading(request: DemoRequest, room: Room, directory: string, disk: FileSystem, io: Io): string[] {
  const { bold, warn } = io.style
  const lines = [
    `${bold(`${formatBytes(room.bytes)} of live memory`)}, ${formatCount(targetWritesPerSecond)} random writes a second`
      + ` while it is saved (seed ${request.seed})`,
    `${describeMachine()}; ${disk.type} on ${disk.source}`,
  ]
  if (room.shortage !== undefined) {
    lines.push(warn(`Not ${formatBytes(request.bytes)}: ${room.shortage}.`))
  }
  if (disk.inMemory) {
    lines.push(warn(`${directory} is memory (${disk.type}), not a disk: durations say nothing. Choose one with --dir.`))
  }
  return lines
}

/** Prints the outcome; the exit status is 1 when any file is not what the memory was. */
async function conclude(setting: Setting, io: Io): Promise<number> {
  const { request, room, directory, disk, alone, measurements } = setting
  const [naive, ...ways] = measurements
  if (naive === undefined) throw new RangeError('nothing was measured')
  const wrong = measurements.filter(({ verified }) => !verified)
  const { good, bad, bold } = io.style
  const verdict =
    wrong.length === 0
      ? [good(bold(`  ✓ All ${measurements.length} files hold the memory exactly as it was at the call.`))]
      : wrong.flatMap((measurement) => describeDamage(measurement).map((line) => bad(bold(line))))
  const lines = [
    ...figuresTable(alone, measurements, io.style),
    '',
    ...ratiosTable(naive, ways, io.style),
    '',
    ...verdict,
    ...(request.keep ? [`  The files are in ${directory}`] : []),
    '',
    ...footnotes(measurements, io).map(io.style.dim),
    '',
  ]
  await io.report(
    {
      ok: wrong.length === 0,
      byteLength: room.bytes,
      requestedByteLength: request.bytes,
      ...(room.shortage === undefined ? {} : { shortage: room.shortage }),
      seed: request.seed,
      targetWritesPerSecond,
      machine: describeMachine(),
      directory,
      fileSystem: disk,
      kept: request.keep,
      serviceAlone: alone,
      ways: measurements.map((measurement) => ({
        ...measurement,
        ...(measurement === naive ? {} : { timesBetterThanNaive: ratiosTo(naive, measurement) }),
      })),
    },
    lines,
  )
  return wrong.length === 0 ? 0 : 1
}

/** Everything that the outcome is told from. */
interface Setting {
  request: DemoRequest
  room: Room
  directory: string
  disk: FileSystem
  alone: ServiceReport
  measurements: readonly Measurement[]
}

function describeDamage({ way, comparisons }: Measurement): string[] {
  return comparisons
    .filter(({ equal }) => !equal)
    .map(
      ({ reopening, firstDifference }) =>
        `  ✗ WRONG: the file of '${way}' (read back by '${reopening}') differs from the memory at the call, `
        + `first at byte ${formatCount(firstDifference ?? 0)}. Please report this.`,
    )
}

/** What the user asked for, checked. */
interface DemoRequest {
  bytes: number
  engines: string[]
  directory: string | undefined
  keep: boolean
  seed: number
}

function readRequest(args: Arguments): DemoRequest {
  const size = args.value('size')
  const bytes = size === undefined ? defaultBytes : parseBytes(size)
  if (bytes === undefined) throw new UsageError(`'${size}' is no size`, "Write it like '512MiB' or '2G'.")
  if (bytes < smallestBytes) throw new UsageError(`--size must be at least ${formatBytes(smallestBytes)}`)
  const seed = Number(args.value('seed') ?? 1)
  if (!Number.isInteger(seed) || seed < 0 || seed >= 2 ** 32) {
    throw new UsageError('--seed must be a whole number from 0 to 4294967295')
  }
  return {
    bytes,
    engines: args.values('engine'),
    directory: args.value('dir'),
    keep: args.flag('keep'),
    seed,
  }
}
