/**
 * `stillframe verify FILE`: checks every byte of a snapshot file, or of all frames of an archive.
 */

import { performance } from 'node:perf_hooks'
import { printable } from '../base/printable.js'
import type { SnapshotInfo, VerifyProblem } from '../index.js'
import { isDirectory, openToRead } from './archive.js'
import { type Command, UsageError } from './command.js'
import type { Io } from './io.js'
import { parentsOption, readParents } from './parents.js'
import { isStore, type Place, placeOf, placeOptions } from './place.js'
import { readersHere } from './readers.js'
import { renderTable } from './table.js'
import { count, formatBytes, formatCount, formatDuration, formatNumber, formatOffset } from './units.js'
import { checkValues, inspectValues, type ValuesInfo } from './values.js'

const defaultMaxProblems = 100
/** Limit of the library. */
const largestMaxProblems = 1_000_000

export const verify: Command = {
  name: 'verify',
  summary: 'check every byte of a snapshot, or of an archive',
  positionals: ['FILE'],
  options: {
    'max-problems': {
      type: 'string',
      placeholder: 'N',
      help: `stop after this many problems (default ${defaultMaxProblems})`,
    },
    parents: parentsOption,
    ...placeOptions,
  },
  details: `
Reads the whole file and compares it with its checksums. Problems are listed with the section and the
offset in the file. For a delta, everything it builds on is checked as well, and that the files belong
together. For a file of values (snapshotState), every value is read; its first problem is also its last. FILE
may be the directory of an archive: then every frame is checked, and a service that captures into it is not
disturbed. For an archive in a store (s3://BUCKET/PREFIX or store:PATH), all objects are fetched and compared
with what was uploaded, but not kept; 'stillframe help frames' explains how to name stores. Exit status 0 if
there are no problems, 1 otherwise.`,

  async run(args, io) {
    const path = args.positional(0)
    const maxProblems = readCount(args.value('max-problems'))
    const place = await placeOf(path, args)
    if (isStore(path) || (await isDirectory(path))) return await verifyArchive(place, io)
    const values = await inspectValues(path).catch(() => undefined)
    if (values !== undefined) return await verifyValues(path, values, io)
    const readers = await readersHere()
    const bar = io.progress('verifying')
    const begunMs = performance.now()
    const report = await readers
      .verify(path, {
        signal: io.signal,
        maxProblems,
        ...readParents(args),
        onProgress: ({ bytesDone, bytesTotal }) => bar.update(bytesDone, bytesTotal),
      })
      .finally(() => bar.stop())
    const durationMs = performance.now() - begunMs

    const { ok, problems, info } = report
    const lines = ok
      ? describeSound(path, info, durationMs, io)
      : describeProblems(path, problems, maxProblems, io)
    await io.report({ file: path, ok, durationMs, problems, info }, lines)
    return ok ? 0 : 1
  },
}

async function verifyArchive(at: Place, io: Io): Promise<number> {
  const place = at.name
  await using archive = await openToRead(at)
  const bar = io.steps('verifying')
  const begunMs = performance.now()
  const { ok, frames } = await archive
    .verify({
      signal: io.signal,
      onProgress: ({ framesDone, framesTotal }) => bar.update('verifying', framesDone, framesTotal),
    })
    .finally(() => bar.stop())
  const durationMs = performance.now() - begunMs
  const damaged = frames.filter((frame) => !frame.ok)
  const lines = ok
    ? [
        `${io.style.good('✓')} ${printable(place)}: every byte of ${count(frames.length, 'frame')} is as it was written ` +
          io.style.dim(`(${formatDuration(durationMs)})`),
      ]
    : [
        io.style.bad(
          `✗ ${printable(place)}: ${formatCount(damaged.length)} of ${count(frames.length, 'frame')} cannot be restored`,
        ),
        '',
        ...renderTable(
          [
            { title: 'frame', align: 'right' },
            { title: 'section', align: 'left', optional: 1 },
            { title: 'what is wrong', align: 'left' },
          ],
          damaged.flatMap(({ number, problems }) =>
            problems
              .slice(0, 1)
              .map(({ section, reason }) => [
                String(number),
                section === undefined ? '–' : printable(section),
                printable(reason) +
                  (problems.length > 1 ? ` (and ${formatCount(problems.length - 1)} more)` : ''),
              ]),
          ),
          io.style.dim,
          io.tableWidth,
        ),
      ]
  await io.report({ place, ok, durationMs, frames }, lines)
  return ok ? 0 : 1
}

async function verifyValues(path: string, info: ValuesInfo, io: Io): Promise<number> {
  const begunMs = performance.now()
  const problem = await checkValues(path, io.signal)
  const durationMs = performance.now() - begunMs
  const problems = problem === undefined ? [] : [problem]
  const lines =
    problem === undefined
      ? [`${io.style.good('✓')} ${printable(path)}: all ${count(info.values ?? 0, 'value')} can be read`]
      : describeProblems(path, problems, 2, io)
  await io.report({ file: path, ok: problem === undefined, durationMs, problems, info }, lines)
  return problem === undefined ? 0 : 1
}

function readCount(text: string | undefined): number {
  const count = Number(text ?? defaultMaxProblems)
  if (!Number.isInteger(count) || count < 1 || count > largestMaxProblems) {
    throw new UsageError(`--max-problems must be a whole number from 1 to ${largestMaxProblems}`)
  }
  return count
}

function describeSound(path: string, info: SnapshotInfo | undefined, durationMs: number, io: Io): string[] {
  const { fileSize = 0, byteLength = 0, parentId } = info ?? {}
  // A delta's own file is only a small part of the data read.
  const speed = formatNumber((parentId === undefined ? fileSize : byteLength) / 1e6 / (durationMs / 1000))
  return [
    `${io.style.good('✓')} ${printable(path)}: every byte is as it was written ` +
      io.style.dim(`(${formatBytes(byteLength)} of memory, ${formatDuration(durationMs)}, ${speed} MB/s)`),
  ]
}

function describeProblems(
  path: string,
  problems: VerifyProblem[],
  maxProblems: number,
  { style, tableWidth }: Io,
): string[] {
  const more = problems.length === maxProblems ? ' or more' : ''
  const noun = problems.length === 1 && more === '' ? 'problem' : 'problems'
  return [
    style.bad(`✗ ${printable(path)}: ${formatCount(problems.length)}${more} ${noun}`),
    '',
    ...renderTable(
      [
        { title: 'section', align: 'left' },
        { title: 'offset in the file', align: 'right' },
        { title: 'what is wrong', align: 'left' },
      ],
      problems.map(({ section, offset, reason }) => [
        section === undefined ? '–' : printable(section),
        offset === undefined ? '–' : formatOffset(offset),
        printable(reason),
      ]),
      style.dim,
      tableWidth,
    ),
  ]
}
