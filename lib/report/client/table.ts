/** All frames as a table, for screen readers and for looking up a number. */

import { formatBytes, formatMs } from '../../base/units.js'
import { kindOf } from './describe.js'
import { element, quoted } from './dom.js'
import type { Frame } from './frames.js'
import { formatShort } from './times.js'

/** The rows are created when the table is first opened, since thousands of them take time. */
export function frameTable(frames: readonly Frame[], choose: (frame: Frame) => void): HTMLElement {
  const root = element(
    'details',
    { class: 'panel frames' },
    element('summary', {}, element('h2', {}, 'All frames as a table')),
  )
  root.addEventListener('toggle', () => {
    if (root.open && root.children.length === 1) root.append(makeTable(frames, choose))
  })
  return root
}

interface Column {
  title: string
  isNumber?: boolean
  cell(frame: Frame): string | Node
}

function columnsFor(frames: readonly Frame[]): Column[] {
  const has = (of: (frame: Frame) => unknown): boolean => frames.some((frame) => of(frame))
  const columns: (Column | false)[] = [
    { title: 'Frozen at (UTC)', cell: ({ at }) => formatShort(at) },
    { title: 'Kind', cell: kindOf },
    {
      title: 'Builds on',
      cell: ({ parent, isOrphan }) => (parent ? quoted(parent.name) : isOrphan ? 'missing' : '–'),
    },
    { title: 'Memory', isNumber: true, cell: ({ byteLength }) => bytes(byteLength) },
    { title: 'Changed', isNumber: true, cell: ({ changedBytes }) => bytes(changedBytes) },
    { title: 'On disk', isNumber: true, cell: ({ fileSize }) => formatBytes(fileSize) },
    has(({ pauseMs }) => pauseMs !== null) && {
      title: 'Pause',
      isNumber: true,
      cell: ({ pauseMs }) => (pauseMs === null ? '–' : `${formatMs(pauseMs)} ms`),
    },
    has(({ hasState }) => hasState) && { title: 'Objects', cell: ({ hasState }) => (hasState ? 'yes' : '–') },
    has(({ keptBecause }) => keptBecause.length > 0) && {
      title: 'Kept because',
      cell: ({ keptBecause }) => keptBecause.join(', ') || '–',
    },
    { title: 'State', cell: ({ damage }) => damage ?? 'whole' },
  ]
  return columns.filter((column) => column !== false)
}

function makeTable(frames: readonly Frame[], choose: (frame: Frame) => void): HTMLElement {
  const columns = columnsFor(frames)
  const rows = frames.toReversed().map((frame) => {
    const name = element('button', { type: 'button', class: 'link' }, quoted(frame.name))
    name.addEventListener('click', () => choose(frame))
    return element(
      'tr',
      { class: frame.damage !== undefined && 'bad' },
      element('th', { scope: 'row' }, name),
      ...columns.map(({ cell, isNumber }) => element('td', { class: isNumber && 'number' }, cell(frame))),
    )
  })
  const titles = columns.map(({ title, isNumber }) =>
    element('th', { scope: 'col', class: isNumber && 'number' }, title),
  )
  return element(
    'div',
    { class: 'scroll', role: 'region', 'aria-label': 'All frames', tabindex: 0 },
    element(
      'table',
      {},
      element('caption', {}, 'All frames, the newest first'),
      element('thead', {}, element('tr', {}, element('th', { scope: 'col' }, 'Frame'), ...titles)),
      element('tbody', {}, ...rows),
    ),
  )
}

function bytes(value: number | null): string {
  return value === null ? '–' : formatBytes(value)
}
