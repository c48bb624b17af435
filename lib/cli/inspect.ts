/** `stillframe inspect FILE`: what a snapshot file says about itself. */

import { inspect as readInfo, type SnapshotInfo } from '../index.js'
import type { Command } from './command.js'
import type { Style } from './io.js'
import { renderTable } from './table.js'
import { formatBytes, formatCount, formatOffset, printable, printableLines } from './units.js'

export const inspect: Command = {
  name: 'inspect',
  summary: 'show the header, sections and metadata of a snapshot',
  positionals: ['FILE'],
  options: {},
  details: `
Reads and checks the header, the list of sections and the metadata. It reads no page data, so it is
quick for any size: 'stillframe verify' is what checks every byte.`,

  async run(args, io) {
    const path = args.positional(0)
    const info = await readInfo(path)
    await io.report({ file: path, ...info }, describeInfo(path, info, io.style))
    return 0
  },
}

function describeInfo(path: string, info: SnapshotInfo, style: Style): string[] {
  const facts: [label: string, value: string][] = [
    ['id', info.id],
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
        { title: 'bytes', align: 'right' },
        { title: 'size', align: 'right' },
        { title: 'stored', align: 'right' },
        { title: 'at offset', align: 'right' },
      ],
      info.sections.map((section) => [
        printable(section.name),
        formatCount(section.byteLength),
        formatBytes(section.byteLength),
        formatBytes(section.storedBytes),
        info.layout === 'flat' ? formatOffset(section.fileOffset) : '',
      ]),
      style.dim,
    ),
    '',
    ...describeMetadata(info, style),
  ]
}

function describeMetadata({ metadata }: SnapshotInfo, style: Style): string[] {
  if (metadata === undefined) return [style.dim('  no metadata')]
  const text = printableLines(JSON.stringify(metadata, undefined, 2))
  return [style.dim('  metadata'), ...text.split('\n').map((line) => `  ${line}`)]
}

/** `1 section`, `2 sections`. */
function count(number: number, noun: string): string {
  return `${formatCount(number)} ${noun}${number === 1 ? '' : 's'}`
}
