/** The demo's output: the setting, printed before it begins, and the results. */

import { availableParallelism } from 'node:os'
import { printable } from '../../base/printable.js'
import type { Io } from '../io.js'
import { describeMachine, type FileSystem } from '../machine.js'
import { wrap } from '../table.js'
import { formatBytes, formatCount, formatMs, formatNumber } from '../units.js'
import type { ShownArchive } from './archive.js'
import type { Measurement } from './measure.js'
import { figuresTable, footnotes, ratiosTable, ratiosTo } from './report.js'
import type { Room } from './room.js'
import { type ServiceReport, targetWritesPerSecond } from './service.js'

/** The subject of the demo, and where it runs. */
export interface Setting {
  wantedBytes: number
  room: Room
  seed: number
  directory: string
  disk: FileSystem
  /** Average of the last minute before the demo began: number of threads that wanted a core. */
  loadAverage: number
  kept: boolean
}

/** All measurements. */
export interface Measured {
  alone: ServiceReport
  /** The naive method comes first. */
  ways: readonly Measurement[]
  archive: ShownArchive
}

/** Describes the demo before it starts. */
export function describeSetting(setting: Setting, io: Io): string[] {
  const { wantedBytes, room, seed, disk, loadAverage } = setting
  const { bold, warn } = io.style
  const warnings: string[] = []
  if (room.shortage !== undefined) warnings.push(`Less than ${formatBytes(wantedBytes)}: ${room.shortage}.`)
  if (disk.inMemory) {
    warnings.push(
      `${disk.mountPoint} is in memory (${disk.type}), so the durations say nothing about a disk. See --dir.`,
    )
  }
  if (loadAverage > availableParallelism() / 2) {
    const load = `load average ${formatNumber(loadAverage)}`
    warnings.push(`This machine is busy with other work (${load}), which affects all figures.`)
  }
  const load = `${formatCount(targetWritesPerSecond)} random writes a second while it is saved`
  return [
    '',
    `  ${bold(`${formatBytes(room.bytes)} of live memory`)}, ${load} (seed ${seed})`,
    `  ${describeMachine()}; ${disk.type} on ${disk.source}`,
    ...warnings.map((warning) => `  ${warn(warning)}`),
    '',
  ]
}

/** The results as lines for people. */
export function describeOutcome(setting: Setting, { alone, ways, archive }: Measured, io: Io): string[] {
  const [naive, ...others] = ways
  return [
    ...figuresTable(alone, ways, io),
    '',
    ...(naive === undefined ? [] : ratiosTable(naive, others, io)),
    '',
    ...describeVerdict(ways, io),
    ...(setting.kept ? [`  The files are in ${setting.directory}`] : []),
    '',
    ...footnotes(ways, io).map(io.style.dim),
    '',
    ...describeArchive(archive, io),
    '',
  ]
}

function describeArchive(
  { page, frames, byteLength, fileSize, pauseMs }: ShownArchive,
  { style }: Io,
): string[] {
  const sizes = `${formatBytes(byteLength)} of memory, ${formatBytes(fileSize)} on disk`
  return [
    `  ${style.bold(`An archive of ${frames} frames`)} of a small service: ${sizes}, ` +
      `pauses of at most ${formatMs(pauseMs)} ms.`,
    `  Its report page: ${printable(page)}`,
  ]
}

/** The results as a document. */
export function outcomeDocument(
  setting: Setting,
  { alone, ways, archive }: Measured,
): Record<string, unknown> {
  const { room, wantedBytes, seed, directory, disk, loadAverage, kept } = setting
  const naive = ways[0]
  return {
    ok: isRight(ways),
    byteLength: room.bytes,
    requestedByteLength: wantedBytes,
    shortage: room.shortage,
    seed,
    targetWritesPerSecond,
    machine: describeMachine(),
    loadAverage,
    directory,
    fileSystem: disk,
    kept,
    serviceAlone: alone,
    archive,
    ways: ways.map((way) =>
      naive === undefined || way === naive ? way : { ...way, timesBetterThanNaive: ratiosTo(naive, way) },
    ),
  }
}

/** True if every file equals the memory at the call. */
export function isRight(ways: readonly Measurement[]): boolean {
  return ways.every(({ verified }) => verified)
}

function describeVerdict(ways: readonly Measurement[], io: Io): string[] {
  const { good, bad, bold } = io.style
  if (isRight(ways)) {
    return [good(bold(`  ✓ All ${ways.length} files hold the memory exactly as it was at the call.`))]
  }
  return ways.flatMap(({ way, comparisons }) =>
    comparisons
      .filter(({ equal }) => !equal)
      .flatMap(({ reopening, firstDifference }) => {
        const what =
          `the file written by '${way}', read back by '${reopening}', ` +
          'differs from the memory at the call'
        const where = `The first difference is at byte ${formatCount(firstDifference ?? 0)}.`
        return wrap(`✗ WRONG: ${what}! ${where} Please report this.`, io.width, '  ')
      })
      .map((line) => bad(bold(line))),
  )
}
