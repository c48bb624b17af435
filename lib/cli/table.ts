/** Tables and wrapped paragraphs for a terminal or a log file. */

import { stripVTControlCharacters } from 'node:util'

/** A column: its title (one or two lines) and the side its cells lean to. */
export interface Column {
  title: string
  align: 'left' | 'right'
  /** Left out where the table is too wide, those with the highest number first. */
  optional?: number
}

/**
 * Lines of a table, indented by two; `style` is applied to the titles and the rule below them.
 * Where it is wider than `width`, columns are left out that can be spared.
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
  // Titles stand on the line above the cells: short ones are filled up from the top.
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

/** Breaks `text` at spaces so that no line, the indentation included, is longer than `width`. */
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

/** At most `length` characters of `text`. */
export function clip(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}
