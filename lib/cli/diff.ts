/** `stillframe diff A B`: shows which pages of memory differ between two frames. */

import { performance } from 'node:perf_hooks'
import { printable } from '../base/printable.js'
import { inspect, type SnapshotInfo } from '../index.js'
import { compareFrames, type SectionDifference } from '../restore/compare.js'
import type { Command } from './command.js'
import { describeLegend, drawDensity } from './density-map.js'
import { kindOf } from './inspect.js'
import type { Io, Style } from './io.js'
import { parentsOption, readParents } from './parents.js'
import { renderTable } from './table.js'
import { count, formatBytes, formatCount, formatDuration } from './units.js'
import { explainValues } from './values.js'

/** More than any terminal shows, so that maps of all widths consist of whole pieces. */
const piecesPerSection = 1024

/** A section, and the number of pages in the longer of its two versions. */
type Section = SectionDifference & { pages: number }
/** One of the two files. */
interface Frame {
  path: string
  info: SnapshotInfo
}

export const diff: Command = {
  name: 'diff',
  summary: 'show which pages differ between two snapshots',
  positionals: ['A', 'B'],
  options: { parents: parentsOption },
  details: `
Compares sections of the same name by the sums of their pages, 1/256 of the memory; the pages themselves
are not read ('stillframe verify' does that). For each section that differs, a map shows where. A page
beyond the end of a section counts as zero. Metadata is not compared. A and B may be full snapshots or
deltas, in any order, and neither has to build on the other. Exit status 0 if nothing differs, 1 if
something does or if they cannot be compared. With --json, 'pieces' has the number of pages that
differ for each piece of 'pagesPerPiece' pages.`,

  async run(args, io) {
    const parents = readParents(args)
    const [a, b] = [await open(args.positional(0), parents), await open(args.positional(1), parents)]
    const bar = io.progress('comparing')
    const begunMs = performance.now()
    const differences = await compareFrames(a.path, b.path, {
      ...parents,
      pieces: piecesPerSection,
      signal: io.signal,
      onProgress: ({ bytesDone, bytesTotal }) => bar.update(bytesDone, bytesTotal),
    }).finally(() => bar.stop())
    const durationMs = performance.now() - begunMs

    const { pageSize } = b.info
    const sections = differences.map((section): Section => {
      const byteLength = Math.max(section.fromBytes ?? 0, section.toBytes ?? 0)
      return { ...section, pages: Math.ceil(byteLength / pageSize) }
    })
    const same = !sections.some(differs)
    const sum = (of: 'pages' | 'changedPages'): number =>
      sections.reduce((so, section) => so + section[of], 0)
    const document = {
      from: describeForJson(a),
      to: describeForJson(b),
      same,
      pageSize,
      pages: sum('pages'),
      changedPages: sum('changedPages'),
      durationMs,
      sections,
    }
    await io.report(document, [
      describeFrame('A', a, io),
      describeFrame('B', b, io),
      '',
      ...describeSections(sections, io),
      '',
      ...sections.flatMap((section) => describeWhere(section, pageSize, io)),
      ...(sum('changedPages') > 0 ? [`  ${describeLegend(io.style)}`, ''] : []),
      `${verdict(same, sum('changedPages'), sum('pages'), io.style)} ` +
        io.style.dim(`(pages of ${formatBytes(pageSize)}, ${formatDuration(durationMs)})`),
    ])
    return same ? 0 : 1
  },
}

async function open(path: string, parents: { parents?: string[] }): Promise<Frame> {
  return { path, info: await inspect(path, parents).catch((error) => explainValues(path, error)) }
}

/** Also true if one version is longer by zeros, or exists but is empty. */
function differs({ fromBytes, toBytes, changedPages }: Section): boolean {
  return changedPages > 0 || fromBytes !== toBytes
}

function verdict(same: boolean, changedPages: number, pages: number, style: Style): string {
  if (same) return `${style.good('✓')} no page differs`
  if (changedPages === 0) return 'no page differs, but the sections differ in length or name'
  return `${formatCount(changedPages)} of ${count(pages, 'page')} ${changedPages === 1 ? 'differs' : 'differ'}`
}

function describeForJson({ path, info }: Frame): object {
  const { id, parentId, frozenAt, byteLength } = info
  return { file: path, id, kind: kindOf(info), parentId, frozenAt, byteLength }
}

function describeFrame(label: string, { path, info }: Frame, { style }: Io): string {
  const what = `${formatBytes(info.byteLength)} in ${count(info.sections.length, 'section')}`
  const when = style.dim(`(${kindOf(info)}, frozen at ${info.frozenAt.toISOString()})`)
  return `  ${style.dim(label)}  ${printable(path)}: ${what} ${when}`
}

function describeSections(sections: readonly Section[], { style, tableWidth }: Io): string[] {
  return renderTable(
    [
      { title: 'section', align: 'left' },
      { title: 'bytes in A', align: 'right', optional: 1 },
      { title: 'bytes in B', align: 'right', optional: 1 },
      { title: 'pages that differ', align: 'right' },
      { title: 'share', align: 'right' },
    ],
    sections.map(({ name, fromBytes, toBytes, changedPages, pages }) => [
      printable(name) +
        (fromBytes === undefined ? ' (only in B)' : toBytes === undefined ? ' (only in A)' : ''),
      fromBytes === undefined ? '–' : formatCount(fromBytes),
      toBytes === undefined ? '–' : formatCount(toBytes),
      formatCount(changedPages),
      formatShare(changedPages, pages),
    ]),
    style.dim,
    tableWidth,
  )
}

/** Never rounds a few pages to none, or all but a few to all. */
function formatShare(part: number, whole: number): string {
  if (part === 0) return '0 %'
  const percent = (100 * part) / whole
  if (percent < 0.1) return '< 0.1 %'
  if (percent > 99.9 && part < whole) return '> 99.9 %'
  return `${percent.toFixed(1)} %`
}

function describeWhere(section: Section, pageSize: number, io: Io): string[] {
  const { name, fromBytes, toBytes, changedPages, pages, pagesPerPiece, pieces } = section
  if (changedPages === 0) return []
  const { bytesPerCharacter, lines } = drawDensity(
    {
      byteLength: Math.max(fromBytes ?? 0, toBytes ?? 0),
      pieceBytes: pagesPerPiece * pageSize,
      pieces,
      unitsPerPiece: pagesPerPiece,
    },
    io,
  )
  const scale = pages === 1 ? '' : io.style.dim(`, ${formatBytes(bytesPerCharacter)} a character`)
  return [`  ${printable(name)}${scale}`, ...lines.map((line) => `  ${line}`), '']
}
