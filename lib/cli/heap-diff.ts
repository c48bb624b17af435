/** `stillframe heap diff A B`: shows what has grown between two heap snapshots. */

import { performance } from 'node:perf_hooks'
import { printable } from '../base/printable.js'
import { type ClassChange, compareHeapSnapshots, type HeapComparison } from '../heap-file/compare.js'
import type { Command } from './command.js'
import { nameWidth, readTop, topOption } from './heap-summary.js'
import type { Io } from './io.js'
import { clip, renderTable, wrap } from './table.js'
import { count, formatBytes, formatCount } from './units.js'

export const heapDiff: Command = {
  name: 'heap diff',
  summary: 'show what has grown between one .heapsnapshot and a later one',
  positionals: ['A', 'B'],
  options: { top: topOption },
  details: `
Compares two heap snapshots of the same program by class: how many objects there were and are, and
their shallow bytes; the classes that have grown most come first. If objects have the same ids in both
files (two files of v8.writeHeapSnapshot() in one process, or with stableIds), it also counts the objects
of B that A did not have, even if as many have disappeared. It needs 8 bytes of memory for each node of
both files.`,

  async run(args, io) {
    const [before, after] = [args.positional(0), args.positional(1)]
    const top = readTop(args.value('top'))
    const bar = io.progress('reading')
    const begunMs = performance.now()
    const comparison = await compareHeapSnapshots(before, after, {
      signal: io.signal,
      onProgress: (done, total) => bar.update(done, total),
    }).finally(() => bar.stop())
    const durationMs = performance.now() - begunMs
    const changed = comparison.classes.length
    const classes = largestChanges(comparison.classes, top)
    await io.report(
      { before, after, durationMs, ...comparison, changedClasses: changed, classes },
      describe(before, after, comparison, classes, io),
    )
    return 0
  },
}

/**
 * The classes with the largest changes (added, removed or replaced objects), in their original
 * order.
 */
function largestChanges(classes: readonly ClassChange[], top: number): ClassChange[] {
  const weight = ({ count: [, is], shallowBytes: [, bytes], ...change }: ClassChange): number => {
    const freshBytes = is === 0 ? 0 : ((change.newObjects ?? 0) * bytes) / is
    return Math.max(Math.abs(change.shallowDelta), freshBytes) + Math.abs(change.countDelta)
  }
  const kept = new Set([...classes].sort((a, b) => weight(b) - weight(a)).slice(0, top))
  return classes.filter((each) => kept.has(each))
}

function describe(
  before: string,
  after: string,
  { files, idsAreLasting, newObjects, classesOnly, classes: all }: HeapComparison,
  classes: readonly ClassChange[],
  io: Io,
): string[] {
  const { style, width } = io
  const line = (label: string, path: string, index: number): string => {
    const { nodes = 0, shallowBytes = 0 } = files[index] ?? {}
    return `  ${style.dim(label)}  ${printable(path)}: ${formatBytes(shallowBytes)} in ${count(nodes, 'node')}`
  }
  const ids = idsAreLasting
    ? `${formatCount(newObjects ?? 0)} objects of B are not in A.`
    : classesOnly === 'memory'
      ? 'Only classes are compared: there is not enough memory for the ids of the objects, 8 bytes for each.'
      : 'Only classes are compared: objects do not have the same ids in both files (docs/HEAP.md, ' +
        'stableIds), so new ones cannot be told from old ones.'
  return [
    line('A', before, 0),
    line('B', after, 1),
    '',
    ...wrap(ids, width, '  '),
    '',
    ...(classes.length === 0 ? ['  No class has changed.'] : describeClasses(classes, idsAreLasting, io)),
    ...(all.length > classes.length
      ? [
          style.dim(
            `  and ${formatCount(all.length - classes.length)} more with smaller changes; ` +
              'use --top to see them',
          ),
        ]
      : []),
    '',
  ]
}

function describeClasses(classes: readonly ClassChange[], idsAreLasting: boolean, io: Io): string[] {
  return renderTable(
    [
      { title: 'class', align: 'left' },
      { title: 'count in A', align: 'right', optional: 2 },
      { title: 'in B', align: 'right', optional: 2 },
      { title: 'more', align: 'right' },
      ...(idsAreLasting ? [{ title: 'new', align: 'right' } as const] : []),
      { title: 'shallow in B', align: 'right', optional: 1 },
      { title: 'more', align: 'right' },
    ],
    classes.map(
      ({ name, count: [was, is], countDelta, shallowBytes: [, bytes], shallowDelta, newObjects }) => [
        clip(printable(name), nameWidth(io)) + (was === 0 ? ' (new)' : is === 0 ? ' (gone)' : ''),
        formatCount(was),
        formatCount(is),
        signed(countDelta, formatCount),
        ...(idsAreLasting ? [formatCount(newObjects ?? 0)] : []),
        formatBytes(bytes),
        signed(shallowDelta, formatBytes),
      ],
    ),
    io.style.dim,
    io.tableWidth,
  )
}

function signed(value: number, format: (value: number) => string): string {
  return value > 0 ? `+${format(value)}` : value < 0 ? `−${format(-value)}` : format(0)
}
