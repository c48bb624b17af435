/** `stillframe verify FILE`: checks every byte of a snapshot file. */

import { performance } from 'node:perf_hooks'
import { printable } from '../base/printable.js'
import { type SnapshotInfo, type VerifyProblem, verify as verifyFile } from '../index.js'
import { type Command, UsageError } from './command.js'
import type { Io } from './io.js'
import { parentsOption, readParents } from './parents.js'
import { renderTable } from './table.js'
import { count, formatBytes, formatCount, formatDuration, formatNumber, formatOffset } from './units.js'
import { checkValues, inspectValues, type ValuesInfo } from './values.js'

const defaultMaxProblems = 100
/** The library's own bound. */
const largestMaxProblems = 1_000_000

export const verify: Command = {
  name: 'verify',
  summary: 'check every byte of a snapshot',
  positionals: ['FILE'],
  options: {
    'max-problems': {
      type: 'string',
      placeholder: 'N',
      help: `stop after so many problems (default ${defaultMaxProblems})`,
    },
    parents: parentsOption,
  },
  details: `
Reads the whole file and compares it with its checksums. Problems are listed with the section and the
offset in the file. Of a delta all that it builds on is checked as well, and that they belong together.
Of a file of values (snapshotState) every value is read; its first problem is its last, too. Exit
status 0 when there are none, 1 otherwise.`,

  async run(args, io) {
    const path = args.positional(0)
    const maxProblems = readCount(args.value('max-problems'))
    const values = await inspectValues(path).catch(() => undefined)
    if (values !== undefined) return await verifyValues(path, values, io)
    const bar = io.progress('verifying')
    const begunMs = performance.now()
    const report = await verifyFile(path, {
      signal: io.signal,
      maxProblems,
      ...readParents(args),
      onProgress: ({ bytesDone, bytesTotal }) => bar.update(bytesDone, bytesTotal),
    }).finally(() => bar.stop())
    const durationMs = performance.now() - begunMs

    const { ok, problems, info } = report
    const lines = ok
      ? describeSound(path, info, durationMs, io)
      : describeProblems(path, problems, maxProblems, io)
    await io.report({ file: path, ok, durationMs, problems, info }, lines)
    return ok ? 0 : 1
  },
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
  // A delta is a small part of what was read.
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
