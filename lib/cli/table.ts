/** Tables and wrapped paragraphs for a terminal or a log file. */

import { stripVTControlCharacters } from 'node:util'

/** A column: its title (one or two lines) and the alignment of its cells. */
export interface Column {
  title: string
  align: 'left' | 'right'
  /** If the table is too wide, columns with this number are dropped, highest number first. */
  optional?: number
}

/**
 * Lines of a table, indented by two; `style` is applied to the titles and the rule below them. If
 * the table is wider than `width`, optional columns are dropped.
 */
export function renderTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  style: (text: string) => string,
  width: number,
): string[] {
  const lines = renderColumns(columns, rows, style)
  const spare = columns.reduce((most, { optional = 0 }) => Math.max(most, optional), 0)
  if (spare === 0 || lines.every((line) => visibleLength(line) <= width)) return lines
  const kept = columns.map(({ optional }) => optional !== spare)
  const fewer = <T>(cells: readonly T[]): T[] => cells.filter((_, index) => kept[index])
  return renderTable(fewer(columns), rows.map(fewer), style, width)
}

function renderColumns(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  style: (text: string) => string,
): string[] {
  const titles = columns.map((column) => column.title.split('\n'))
  const height = Math.max(...titles.map((lines) => lines.length))
  // Titles are bottom-aligned: shorter ones are padded at the top.
  const head = Array.from({ length: height }, (_, line) =>
    titles.map((lines) => lines[line - (height - lines.length)] ?? ''),
  )
  const widths = columns.map((_, index) =>
    Math.max(...[...head, ...rows].map((row) => visibleLength(row[index] ?? ''))),
  )
  const line = (cells: readonly string[]): string =>
    columns
      .map((column, index) => {
        const cell = cells[index] ?? ''
        const padding = ' '.repeat((widths[index] ?? 0) - visibleLength(cell))
        return column.align === 'left' ? cell + padding : padding + cell
      })
      .join('  ')
      .trimEnd()
  const rule = '─'.repeat(widths.reduce((sum, width) => sum + width, 2 * (widths.length - 1)))
  return [...head.map((cells) => style(line(cells))), style(rule), ...rows.map(line)].map(
    (text) => `  ${text}`,
  )
}

/** Breaks `text` at spaces so that no line, including the indentation, is longer than `width`. */
export function wrap(text: string, width: number, indent: string): string[] {
  const lines: string[] = []
  for (const paragraph of text.split('\n')) {
    let line = ''
    for (const word of paragraph.split(' ')) {
      const longer = line === '' ? word : `${line} ${word}`
      if (line !== '' && indent.length + visibleLength(longer) > width) {
        lines.push(indent + line)
        line = word
      } else {
        line = longer
      }
    }
    lines.push(indent + line)
  }
  return lines
}

function visibleLength(text: string): number {
  return stripVTControlCharacters(text).length
}

/** Shortens `text` to at most `length` characters. */
export function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}
