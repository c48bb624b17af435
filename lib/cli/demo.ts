/**
 * `stillframe demo`: saves live memory with every method that this machine supports, in one run.
 */

import { rmSync } from 'node:fs'
import { access, constants, mkdtemp, rm } from 'node:fs/promises'
import { loadavg } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { capabilities, type EngineName, Region } from '../index.js'
import { type Arguments, type Command, CommandError, UsageError } from './command.js'
import { frameCount, showArchive } from './demo/archive.js'
import { snapshotWith } from './demo/engine.js'
import { type Measurement, measure, measureAlone, type Stage } from './demo/measure.js'
import { copyInTurns, fillSeeded } from './demo/memory.js'
import { copyThenWrite } from './demo/naive.js'
import { describeOutcome, describeSetting, isRight, outcomeDocument, type Setting } from './demo/outcome.js'
import { copiesInMemory, findRoom, smallestBytes } from './demo/room.js'
import { Service, targetWritesPerSecond } from './demo/service.js'
import type { Way } from './demo/way.js'
import type { Io } from './io.js'
import { defaultDirectory, fileSystemOf } from './machine.js'
import { formatBytes, formatCount, parseBytes } from './units.js'

const defaultBytes = 2 ** 30
const pageName = 'stillframe-demo.html'

export const demo: Command = {
  name: 'demo',
  summary: 'save live memory in every way this machine supports, and compare',
  positionals: [],
  options: {
    size: { type: 'string', placeholder: 'BYTES', help: 'memory to save, such as 512MiB (default 1GiB)' },
    engine: {
      type: 'string',
      placeholder: 'NAME',
      multiple: true,
      help: 'use only this engine; repeatable (default: all available)',
    },
    dir: {
      type: 'string',
      placeholder: 'DIR',
      help: 'directory for the files (default: the temporary directory, or /var/tmp)',
    },
    keep: { type: 'boolean', help: 'keep the files and print where they are' },
    seed: { type: 'string', placeholder: 'N', help: 'seed for the contents and the writes (default 1)' },
  },
  details: `
A service changes random pages all the time, ${formatCount(targetWritesPerSecond)} a second, on the event
loop that is measured. Its memory is saved by each engine, and once by copying all of it and writing
the copy: in one run, under the same load. Every file is read back and compared byte for byte with the
memory as it was at the call. The demo needs ${copiesInMemory} times the size in memory, and reduces the
size if memory or disk space is short. Finally, a small service is captured ${frameCount} times into an
archive. A report page of that archive is made and kept: ${pageName} in the directory
given with --dir, or in the current one.`,

  async run(args, io) {
    const request = readRequest(args)
    const parent = resolve(request.directory ?? (await defaultDirectory()))
    const directory = await mkdtemp(join(parent, 'stillframe-demo-'))
    // Removes the files, which may be gigabytes, even if process.exit() is called halfway.
    const remove = (): void => rmSync(directory, { recursive: true, force: true })
    process.once('exit', remove)
    try {
      const page = join(await pageDirectory(request, parent), pageName)
      const status = await runDemo(request, directory, page, io)
      if (request.keep) process.removeListener('exit', remove)
      else remove()
      return status
    } catch (error) {
      remove()
      throw error
    }
  },
}

/**
 * Directory for the page: one where the user will find it again, so not the temporary directory.
 */
async function pageDirectory({ directory }: DemoRequest, otherwise: string): Promise<string> {
  if (directory !== undefined) return otherwise
  const here = process.cwd()
  return access(here, constants.W_OK).then(
    () => here,
    () => otherwise,
  )
}

/** The user's request, checked. */
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
  if (bytes === undefined) throw new UsageError(`'${size}' is not a size`, "Write it as '512MiB' or '2G'.")
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

/** The engines to demonstrate: those requested, or all that are available. */
function chooseEngines(asked: readonly string[]): EngineName[] {
  const { engines } = capabilities()
  const names = Object.keys(engines) as EngineName[]
  for (const name of asked) {
    if (!Object.hasOwn(engines, name)) {
      throw new UsageError(`unknown engine '${name}'`, `Engines: ${names.join(', ')}.`)
    }
    const { available, reason } = engines[name as EngineName]
    if (!available) throw new CommandError(`engine '${name}' cannot be used here: ${reason}`)
  }
  const chosen = names.filter((name) => (asked.length === 0 ? engines[name].available : asked.includes(name)))
  if (chosen.length === 0) {
    throw new CommandError("no engine can be used here; 'stillframe doctor' says why and what to change")
  }
  return chosen
}

async function runDemo(request: DemoRequest, directory: string, page: string, io: Io): Promise<number> {
  const { bytes: wantedBytes, seed, keep: kept } = request
  const engines = chooseEngines(request.engines)
  const disk = await fileSystemOf(directory)
  const room = await findRoom(wantedBytes, kept ? engines.length + 1 : 1, directory, disk)
  const loadAverage = loadavg()[0] ?? 0
  const setting: Setting = { wantedBytes, room, seed, directory, disk, loadAverage, kept }
  await io.print(describeSetting(setting, io))

  using region = Region.allocate(room.bytes)
  using oracle = Region.allocate(room.bytes, { name: 'oracle' })
  using warm = Region.allocate(room.bytes, { name: 'warm' })
  const stage: Stage = { region, oracle, io, service: new Service(region.buffer, seed) }
  await prepare(stage, warm, seed)

  const alone = await measureAlone(stage)
  const contestants: Way[] = [
    copyThenWrite(region, warm),
    ...engines.map((engine) => snapshotWith(engine, region)),
  ]
  const ways: Measurement[] = []
  for (const way of contestants) {
    const path = join(directory, way.engine === undefined ? 'naive.bin' : `${way.engine}.stillframe`)
    ways.push(await measure(way, path, stage))
    // One file at a time, since the disk may have room for only one.
    if (!kept) await rm(path, { force: true })
  }
  const archive = await showArchive(join(directory, 'archive'), page, seed, io)
  const measured = { alone, ways, archive }
  await io.report(outcomeDocument(setting, measured), describeOutcome(setting, measured, io))
  return isRight(ways) ? 0 : 1
}

/**
 * Fills the memory and touches all pages that are needed later, so that no method pays for going
 * first.
 */
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
