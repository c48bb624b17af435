/**
 * `stillframe report PLACE -o OUT`: makes a page that shows frames and how the memory changed
 * between them.
 */

import { Buffer } from 'node:buffer'
import { stat } from 'node:fs/promises'
import { printable } from '../base/printable.js'
import { type ArchiveReportOptions, reportArchive } from '../report/archive.js'
import type { ReportData } from '../report/data.js'
import type { ReportOptions } from '../report/examine.js'
import { reportChain, reportDirectory } from '../report/files.js'
import { renderPage } from '../report/page.js'
import { reportStore } from '../report/store.js'
import { isArchive, isDirectory, keepOptions, readRetention, rulesFor } from './archive.js'
import { type Arguments, type Command, CommandError, UsageError } from './command.js'
import { openFileSink } from './extract/sink.js'
import type { Io } from './io.js'
import { parentsOption, readParents } from './parents.js'
import { isStore, type Place, placeOf, placeOptions } from './place.js'
import { count, formatBytes } from './units.js'

const defaultLast = 1000
/** Number of frames that a browser can still draw at once. */
const largestLast = 10_000

export const report: Command = {
  name: 'report',
  summary: 'make a page that shows frames, and what changed between them',
  positionals: ['PLACE'],
  options: {
    output: { type: 'string', short: 'o', placeholder: 'OUT', help: 'HTML file to write (required)' },
    force: { type: 'boolean', short: 'f', help: 'replace OUT if it exists' },
    last: { type: 'string', placeholder: 'N', help: `show the newest N frames (default ${defaultLast})` },
    verify: { type: 'boolean', help: 'check every byte of each frame' },
    parents: parentsOption,
    ...keepOptions,
    ...placeOptions,
  },
  details: `
PLACE is an archive in a directory or in a store (s3://BUCKET/PREFIX or store:PATH), another directory with
snapshots, or one snapshot, which is shown with everything it builds on. OUT is one file that loads nothing
else: it can be mailed, printed, and opened without a network. It shows chains, sizes, pauses and damage, and
where the memory changed between one frame and the next. For the latter it reads the sums of the pages,
1/256 of the memory of each frame. With --keep-last and the other --keep options, it shows which frames of an
archive these rules keep, otherwise which frames the rules of its service keep. Of an archive in a store,
only the manifest is read unless --verify is given, and where the memory changed is not shown. Exit status 1
if a frame is damaged.`,

  async run(args, io) {
    const at = await placeOf(args.positional(0), args)
    const place = at.name
    const output = readOutput(args)
    const isOfArchive = isStore(place) || (await isArchive(place))
    const options = {
      ...readParents(args),
      last: readLast(args.value('last')),
      verify: args.flag('verify'),
      retention: isOfArchive ? await rulesFor(args, at) : readRetention(args),
    }
    // Opened first, to fail before the work if OUT cannot be written.
    await using sink = await openFileSink(output, args.flag('force'))
    const data = await collect(at, options, io)
    if (data.frames.length === 0)
      throw new CommandError(`${printable(place)} has no ${isOfArchive ? 'frames' : 'snapshots'}`)
    const page = Buffer.from(renderPage(data))
    await sink.write(page)
    await sink.commit()

    const { kind, frames, remarks } = data
    const damaged = frames.filter(({ damage }) => damage !== undefined)
    const document = {
      place,
      output,
      kind,
      frames: frames.length,
      damaged: damaged.map(({ number, name, id, damage }) => ({ number, name, id, reason: damage })),
      pageBytes: page.length,
      remarks,
    }
    await io.report(document, [
      `${io.style.good('✓')} ${printable(output)}: ${count(frames.length, 'frame')} ` +
        io.style.dim(`(${formatBytes(page.length)}; opens in any browser)`),
      ...damaged.map(({ name, damage = '' }) => io.style.bad(`✗ ${printable(name)}: ${printable(damage)}`)),
    ])
    return damaged.length === 0 ? 0 : 1
  },
}

function readOutput(args: Arguments): string {
  const output = args.value('output')
  const hint = "Try 'stillframe report PLACE -o report.html'."
  if (output === undefined) throw new UsageError('-o OUT is missing', hint)
  if (output === '-') throw new UsageError('a page cannot be written to stdout', hint)
  return output
}

function readLast(text: string | undefined): number {
  const last = Number(text ?? defaultLast)
  if (!Number.isInteger(last) || last < 1 || last > largestLast) {
    throw new UsageError(`--last must be a whole number from 1 to ${largestLast}`)
  }
  return last
}

/** Collects the data of the page, with a progress bar for each step. */
async function collect(
  { name: place, at, encryption }: Place,
  options: Omit<ReportOptions & ArchiveReportOptions, 'signal' | 'onProgress'>,
  io: Io,
): Promise<ReportData> {
  if (typeof at === 'string') {
    await stat(at).catch((error: Error) => {
      throw new CommandError(`${printable(place)} cannot be read: ${error.message}`)
    })
  }
  const bar = io.steps('opening')
  const collectFrom =
    typeof at !== 'string'
      ? (_: string, rest: ReportOptions & ArchiveReportOptions) =>
          reportStore(at, { ...rest, place, encryption })
      : (await isArchive(place))
        ? reportArchive
        : (await isDirectory(place))
          ? reportDirectory
          : reportChain
  return await collectFrom(place, {
    ...options,
    signal: io.signal,
    onProgress: (step, done, total) => bar.update(step, done, total),
  }).finally(() => bar.stop())
}
