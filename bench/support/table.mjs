// Tables that are readable both on a terminal and as Markdown.

const width = (text) => [...text].length

/**
 * `rows` are arrays of texts, as many as `columns`. Columns of text are aligned left, numbers
 * right.
 */
export const renderTable = ({ title, columns, rows, note }) => {
  const widths = columns.map((head, index) =>
    Math.max(width(head), 3, ...rows.map((row) => width(row[index]))),
  )
  const left = columns.map((_, index) =>
    rows.every((row) => !/^[-+×\d]/.test(row[index]) || row[index] === '-'),
  )
  const line = (cells) =>
    `| ${cells
      .map((cell, index) => {
        const space = ' '.repeat(widths[index] - width(cell))
        return left[index] ? cell + space : space + cell
      })
      .join(' | ')} |`
  const rules = widths.map((each, index) => (left[index] ? '-'.repeat(each) : `${'-'.repeat(each - 1)}:`))
  const rule = `| ${rules.join(' | ')} |`
  const body = [line(columns), rule, ...rows.map(line)].join('\n')
  return `### ${title}\n\n${body}\n${note ? `\n${note}\n` : ''}`
}

/** Three digits are enough; `-` for values that were not measured. */
export const number = (value) => {
  if (value === undefined || value === null || !Number.isFinite(value)) return '-'
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 0.1 ? 2 : 3
  return value.toFixed(digits)
}

export const ratio = (value, base) => (base > 0 && value >= 0 ? `×${number(value / base)}` : '-')

export const size = (bytes) => {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const unit = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10))
  return `${Number((bytes / 2 ** (10 * unit)).toFixed(1))} ${units[unit]}`
}
