/** `stillframe doctor`: describes in words what snapshots can do on this machine, and the risks. */

import { join, resolve } from 'node:path'
import process from 'node:process'
import { printable } from '../base/printable.js'
import {
  type Capabilities,
  capabilities,
  type EngineName,
  type Hazard,
  type Preflight,
  preflight,
  Region,
} from '../index.js'
import { forecast } from '../snapshot/preflight.js'
import type { Command } from './command.js'
import type { Io } from './io.js'
import { describeMachine, type FileSystem, fileSystemOf } from './machine.js'
import { wrap } from './table.js'
import { formatBytes } from './units.js'

export const doctor: Command = {
  name: 'doctor',
  summary: 'show what this machine can do, and what is risky about it',
  positionals: [],
  options: {
    dir: {
      type: 'string',
      placeholder: 'DIR',
      help: 'directory for the snapshots (default: the current one)',
    },
  },
  details: `
Engines, kernel features and stillframe/heap are probed by trying them, memory and disk by asking
the kernel, including the limits of the container. Hazards are risks of this machine, not errors.
Exit status 0 if at least one engine can be used, 1 otherwise.`,

  async run(args, io) {
    const directory = resolve(args.value('dir') ?? '.')
    const found = capabilities()
    const disk = await fileSystemOf(directory)
    const { availableBytes, freeDiskBytes, hazards } = await probe(directory)
    const all = mergeHazards(found.hazards, hazards)
    const usable = Object.values(found.engines).some(({ available }) => available)
    await io.report(
      {
        ok: usable,
        machine: describeMachine(),
        ...found,
        hazards: all,
        availableBytes,
        directory,
        fileSystem: disk,
        freeDiskBytes,
      },
      [
        `  ${io.style.bold('stillframe')} on ${describeMachine()}`,
        ...section('Engines', describeEngines(found, io), io),
        ...section('JavaScript state', describeHeap(found, io), io),
        ...section('Kernel', describeFeatures(found, io), io),
        ...section('Room', describeRoom(availableBytes, freeDiskBytes, directory, disk, io), io),
        ...section('Hazards', describeHazards(all, io), io),
        '',
      ],
    )
    return usable ? 0 : 1
  },
}

/** The library's findings before a capture of one page into the directory. */
async function probe(directory: string): Promise<Preflight> {
  using region = Region.allocate(4096)
  const path = join(directory, `stillframe-doctor-${process.pid}`)
  const found = forecast(region, path, undefined, false)
  try {
    await preflight(region, path)
  } catch (error) {
    found.hazards.push({ code: 'DIRECTORY_NOT_WRITABLE', message: (error as Error).message })
  }
  return found
}

/** Merges both lists, with each hazard once. */
function mergeHazards(...lists: readonly (readonly Hazard[])[]): Hazard[] {
  return [...new Map(lists.flat().map((hazard) => [hazard.code, hazard])).values()]
}

function section(title: string, lines: readonly string[], io: Io): string[] {
  return ['', `  ${io.style.bold(title)}`, ...lines]
}

function describeEngines({ engines }: Capabilities, io: Io): string[] {
  const { good, bad, dim } = io.style
  const names = Object.keys(engines) as EngineName[]
  const width = Math.max(...names.map((name) => name.length))
  return names.flatMap((name) => {
    const { available, reason } = engines[name]
    const padded = name.padEnd(width)
    if (available) return [`  ${good('✓')} ${padded}  can be used`]
    return [
      `  ${bad('✗')} ${padded}  ${dim('cannot be used')}`,
      ...wrap(`${sentence(reason)}`, io.width, '      '),
    ]
  })
}

function describeHeap({ heap }: Capabilities, io: Io): string[] {
  const { good, warn, dim } = io.style
  if (heap.available) return [`  ${good('✓')} stillframe/heap  can be used`]
  return [
    `  ${warn('–')} stillframe/heap  ${dim('cannot be used')}`,
    ...heap.reason.split('\n').flatMap((line) => wrap(line.trim(), io.width, '      ')),
  ]
}

function describeFeatures({ kernel, pageSize, features }: Capabilities, io: Io): string[] {
  const { good, warn } = io.style
  const present = Object.keys(features).filter((name) => features[name]?.available)
  const missing = Object.entries(features).filter(([, { available }]) => !available)
  return [
    `    ${kernel}, pages of ${formatBytes(pageSize)}`,
    ...(present.length === 0 ? [] : wrap(`${good('✓')} ${present.join(', ')}`, io.width, '  ')),
    ...missing.flatMap(([name, { reason }]) => hang(`${warn('–')} `, `${name}: ${sentence(reason)}`, io)),
  ]
}

/** Some filesystems do not report their free space: Infinity. */
function describeFree(bytes: number): string {
  return Number.isFinite(bytes) ? `${formatBytes(bytes)} free` : 'an unknown amount free'
}

function describeRoom(
  availableBytes: number,
  freeDiskBytes: number,
  directory: string,
  disk: FileSystem,
  io: Io,
): string[] {
  return [
    `    memory  ${formatBytes(availableBytes)} available`,
    `    disk    ${describeFree(freeDiskBytes)} in ${printable(directory)} (${printable(disk.type)} on ${printable(disk.source)})`,
    ...(disk.inMemory
      ? hang(
          `${io.style.warn('!')} `,
          `${disk.type} is in memory: a snapshot there uses up memory that the service needs`,
          io,
        )
      : []),
  ]
}

function describeHazards(hazards: readonly Hazard[], io: Io): string[] {
  if (hazards.length === 0) return [`  ${io.style.good('✓')} none found`]
  return hazards.flatMap(({ code, message }) =>
    hang(`${io.style.warn('!')} `, `${sentence(message)} ${io.style.dim(`(${code})`)}`, io),
  )
}

/** A paragraph after a mark, with its further lines aligned to the first letter. */
function hang(mark: string, text: string, io: Io): string[] {
  const [first = '', ...rest] = wrap(text, io.width, '    ')
  return [`  ${mark}${first.trimStart()}`, ...rest]
}

/** Capitalizes the text and ends it with a period. */
function sentence(text: string): string {
  const trimmed = text.trim().replace(/\.$/, '')
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}.`
}
