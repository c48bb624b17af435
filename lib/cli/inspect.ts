/** `stillframe inspect FILE`: shows the header, sections and metadata of a snapshot file. */

import { printable, printableLines } from '../base/printable.js'
import type { SnapshotInfo } from '../index.js'
import { type Command, isStillframeError } from './command.js'
import type { Io, Style } from './io.js'
import { parentsOption, readParents } from './parents.js'
import { readersHere } from './readers.js'
import { renderTable } from './table.js'
import { count, formatBytes, formatCount, formatOffset } from './units.js'
import { inspectValues, type ValuesInfo } from './values.js'

export const inspect: Command = {
  name: 'inspect',
  summary: 'show header, sections and metadata of a snapshot',
  positionals: ['FILE'],
  options: { parents: parentsOption },
  details: `
Reads and checks the header, the list of sections and the metadata. It reads no page data, so it is
quick for any size; 'stillframe verify' checks every byte. For a delta, it shows which snapshot the delta
builds on, which must be available. For a file of values (snapshotState), it shows how many there are.`,

  async run(args, io) {
    const path = args.positional(0)
    try {
      const readers = await readersHere()
      const info = await readers.inspect(path, readParents(args))
      await io.report({ file: path, kind: kindOf(info), ...info }, describeInfo(path, info, io))
    } catch (error) {
      const values = isStillframeError(error, 'FORMAT') ? await inspectValues(path) : undefined
      if (values === undefined) throw error
      await io.report({ file: path, ...values }, describeValues(path, values, io.style))
    }
    return 0
  },
}

function describeValues(path: string, { fileSize, values }: ValuesInfo, style: Style): string[] {
  const many =
    values === undefined ? "damaged or truncated; 'stillframe verify' shows where" : count(values, 'value')
  return [
    style.bold(printable(path)),
    '',
    `  ${style.dim('kind')}  values, for readValues()`,
    `  ${style.dim('file')}  ${formatBytes(fileSize)}, ${many}`,
    '',
  ]
}

/** The same values as in a SnapshotResult. */
export function kindOf({ parentId }: SnapshotInfo): 'full' | 'delta' {
  return parentId === undefined ? 'full' : 'delta'
}

/** The lines that `inspect` prints for a snapshot. */
export function describeInfo(path: string, info: SnapshotInfo, { style, tableWidth }: Io): string[] {
  const facts: [label: string, value: string][] = [
    ['id', info.id],
    ...describeParent(info),
    ['frozen at', info.frozenAt.toISOString()],
    ['format', `${info.version.major}.${info.version.minor}, ${printable(info.layout)}`],
    ['memory', `${formatBytes(info.byteLength)} in ${count(info.sections.length, 'section')}`],
    ['file', `${formatBytes(info.fileSize)}, ${formatBytes(info.allocatedBytes)} of it on disk`],
    ['pages', `${formatBytes(info.pageSize)}, checked in blocks of ${formatBytes(info.blockSize)}`],
  ]
  return [
    style.bold(printable(path)),
    '',
    ...facts.map(([label, value]) => `  ${style.dim(label.padEnd(10))}  ${value}`),
    '',
    ...renderTable(
      [
        { title: 'section', align: 'left' },
        { title: 'bytes', align: 'right', optional: 2 },
        { title: 'size', align: 'right' },
        { title: 'stored', align: 'right' },
        { title: 'share', align: 'right', optional: 3 },
        { title: 'at offset', align: 'right', optional: 1 },
      ],
      info.sections.map((section) => [
        printable(section.name),
        formatCount(section.byteLength),
        formatBytes(section.byteLength),
        formatBytes(section.storedBytes),
        section.byteLength === 0 ? '' : `${Math.round((100 * section.storedBytes) / section.byteLength)} %`,
        info.layout === 'flat' ? formatOffset(section.fileOffset) : '',
      ]),
      style.dim,
      tableWidth,
    ),
    '',
    ...describeMetadata(info, style),
  ]
}

function describeParent({ parentId }: SnapshotInfo): [label: string, value: string][] {
  if (parentId === undefined) return []
  return [
    ['kind', 'delta: contains only what differs from its parent'],
    ['parent', parentId],
  ]
}

function describeMetadata({ metadata }: SnapshotInfo, style: Style): string[] {
  if (metadata === undefined) return [style.dim('  no metadata')]
  const text = printableLines(JSON.stringify(metadata, undefined, 2))
  return [style.dim('  metadata'), ...text.split('\n').map((line) => `  ${line}`)]
}
