/** Renders a heap summary as text for a terminal of 80 columns. */

import { printable } from '../base/printable.js'
import type { HeapSummary } from '../heap/summary.js'
import { type Column, clip, renderTable, wrap } from './table.js'
import { count, formatBytes, formatCount } from './units.js'

const width = 80
/** Maximum columns for a name, next to the numbers. */
const nameColumns = 36

/** Lines of the text. `top` is the number of rows per table; the summary file has more. */
export function renderHeapSummary(summary: HeapSummary, top: number): string[] {
  const { heap, contexts, objects, strings, buffers, classes, others } = summary
  const lines = [
    `Heap summary of process ${summary.pid}, thread ${summary.thread}, ${summary.time}`,
    `Node ${summary.node}, V8 ${summary.v8}; written because of: ${shown(summary.trigger, 40)}`,
    ...(summary.complete ? [] : wrap(`Incomplete: ${printable(summary.reason ?? '')}`, width, '')),
    '',
    `  ${formatBytes(heap.usedBytes)} used of ${formatBytes(heap.limitBytes)}, ` +
      `${formatBytes(heap.externalBytes)} outside the heap (Buffers and the like)`,
    `  ${count(contexts.native, 'context')}, ${formatCount(contexts.detached)} of them detached`,
    '',
    ...renderTable(
      [{ title: 'space', align: 'left' }, number('used'), number('in total')],
      summary.spaces
        .filter((space) => space.totalBytes > 0)
        .map((space) => [shown(space.name), formatBytes(space.usedBytes), formatBytes(space.totalBytes)]),
      plain,
      width,
    ),
  ]
  if (classes !== undefined && objects !== undefined) {
    const rest = classes
      .slice(top)
      .concat(others !== undefined && others.count > 0 ? [{ name: '', type: '', ...others }] : [])
    const row = (name: string, type: string, objectCount: number, bytes: number): string[] => [
      name,
      type,
      formatCount(objectCount),
      formatBytes(bytes),
      percent(bytes, objects.shallowBytes),
    ]
    const sum = (of: 'count' | 'shallowBytes'): number => rest.reduce((so, one) => so + one[of], 0)
    lines.push(
      '',
      ...renderTable(
        [
          { title: 'class', align: 'left' },
          { title: 'type', align: 'left', optional: 1 },
          number('objects'),
          number('shallow'),
          number('%'),
        ],
        [
          ...classes
            .slice(0, top)
            .map((one) => row(shown(one.name), shown(one.type, 12), one.count, one.shallowBytes)),
          ...(rest.length > 0 ? [row('(all others)', '', sum('count'), sum('shallowBytes'))] : []),
        ],
        plain,
        width,
      ),
    )
  }
  if (strings !== undefined && strings.largest.length > 0) {
    lines.push(
      '',
      ...renderTable(
        [number('largest strings'), number('length'), { title: 'begins with', align: 'left' }],
        strings.largest
          .slice(0, top)
          .map((one) => [formatBytes(one.bytes), formatCount(one.length), shown(one.start ?? '')]),
        plain,
        width,
      ),
    )
  }
  if (buffers !== undefined && buffers.largest.length > 0) {
    const largest = buffers.largest.slice(0, top).map((one) => formatBytes(one.bytes))
    lines.push(
      '',
      ...wrap(
        `${count(buffers.count, 'ArrayBuffer')} of ${formatBytes(buffers.bytes)} in total; the largest: ` +
          largest.join(', '),
        width,
        '  ',
      ),
    )
  }
  return lines
}

const plain = (text: string): string => text
const number = (title: string): Column => ({ title, align: 'right' })

/**
 * Names and strings come from the service: they may contain terminal escapes and have any length.
 */
function shown(text: string, columns = nameColumns): string {
  return clip(printable(text), columns)
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '' : ((100 * part) / whole).toFixed(1)
}
