/** `stillframe heap summary FILE`: shows what fills the heap, from a heap snapshot of any size. */

import { performance } from 'node:perf_hooks'
import { printable } from '../base/printable.js'
import { readWrittenSummary } from '../heap/written-summary.js'
import type { Step } from '../heap-file/paths.js'
import { type HeapSummary, type ObjectSummary, summarizeHeapSnapshot } from '../heap-file/summary.js'
import { type Command, UsageError } from './command.js'
import { renderHeapSummary } from './heap-summary-table.js'
import type { Io } from './io.js'
import { clip, renderTable, wrap } from './table.js'
import { count, formatBytes, formatCount, formatDuration, formatNumber } from './units.js'

const defaultTop = 15
const largestTop = 1000

/** Shared by `heap summary` and `heap diff`. */
export const topOption = {
  type: 'string',
  placeholder: 'N',
  help: `lines per table (default ${defaultTop})`,
} as const

/** @throws UsageError */
export function readTop(text: string | undefined): number {
  const top = Number(text ?? defaultTop)
  if (!Number.isInteger(top) || top < 1 || top > largestTop) {
    throw new UsageError(`--top must be a whole number from 1 to ${largestTop}`)
  }
  return top
}

export const heapSummary: Command = {
  name: 'heap summary',
  summary: 'show what fills the heap in a .heapsnapshot of any size',
  positionals: ['FILE'],
  options: {
    top: topOption,
    shallow: { type: 'boolean', help: 'leave out retained sizes, which take the most memory and time' },
  },
  details: `
Reads a heap snapshot of Node or Chrome: memory by type and by class, the objects in which memory
accumulates, with the path to each from the root, and the largest strings. Classes are grouped, and
retained sizes counted, as in DevTools: what would be freed with these objects. The file is never in
memory as a whole. Retained sizes take 48 bytes for each node and 8 for each edge of the file (about as
much as the file), in addition to 100 MB for Node itself; --shallow needs only the latter. If there is
less memory, they are left out, and the report says so. A .heapsummary.json that a service has written
is shown as a table. Names and beginnings of strings come from the heap: they may be secret.`,

  async run(args, io) {
    const path = args.positional(0)
    const top = readTop(args.value('top'))
    const written = await readWrittenSummary(path)
    if (written !== undefined) {
      await io.report({ ...written }, renderHeapSummary(written, top))
      return 0
    }
    const bar = io.progress('reading')
    const begunMs = performance.now()
    const summary = await summarizeHeapSnapshot(path, {
      top,
      shallow: args.flag('shallow'),
      signal: io.signal,
      onProgress: (done, total) => bar.update(done, total),
    }).finally(() => bar.stop())
    const durationMs = performance.now() - begunMs
    await io.report({ file: path, durationMs, ...summary }, describe(path, summary, durationMs, io))
    return 0
  },
}

function describe(path: string, summary: HeapSummary, durationMs: number, io: Io): string[] {
  const { style, width } = io
  const { fileSize, nodes, edges, strings, shallowBytes, shallowOnly, objects, largestStrings } = summary
  const speed = formatNumber(fileSize / 1e6 / (durationMs / 1000))
  const facts: [label: string, value: string][] = [
    ['heap', `${formatBytes(shallowBytes)} in ${count(nodes, 'node')}`],
    ['graph', `${count(edges, 'edge')}, ${count(strings, 'string')}`],
    ['file', `${formatBytes(fileSize)}, read in ${formatDuration(durationMs)} (${speed} MB/s)`],
  ]
  return [
    style.bold(printable(path)),
    '',
    ...facts.map(([label, value]) => `  ${style.dim(label.padEnd(6))}  ${value}`),
    '',
    ...(shallowOnly === undefined ? [] : [...wrap(style.warn(whyShallow(shallowOnly)), width, '  '), '']),
    ...describeTypes(summary, io),
    '',
    ...describeClasses(summary, io),
    ...(objects === undefined || objects.length === 0
      ? []
      : ['', ...describeObjects(objects, shallowBytes, io)]),
    ...(largestStrings.length === 0 ? [] : ['', ...describeStrings(summary, io)]),
    '',
  ]
}

function whyShallow({
  reason,
  neededBytes,
  availableBytes,
}: NonNullable<HeapSummary['shallowOnly']>): string {
  return reason === 'asked'
    ? `Retained sizes were left out; they would take ${formatBytes(neededBytes)} of memory.`
    : `Retained sizes are left out: they take ${formatBytes(neededBytes)} of memory, and only ` +
        `${formatBytes(Math.max(0, availableBytes))} is available.`
}

function describeTypes({ types, shallowBytes }: HeapSummary, { style, tableWidth }: Io): string[] {
  return renderTable(
    [
      { title: 'type of node', align: 'left' },
      { title: 'count', align: 'right' },
      { title: 'shallow', align: 'right' },
      { title: 'share', align: 'right' },
    ],
    types.map(({ type, count, shallowBytes: bytes }) => [
      printable(type),
      formatCount(count),
      formatBytes(bytes),
      share(bytes, shallowBytes),
    ]),
    style.dim,
    tableWidth,
  )
}

function describeClasses({ classes, classCount, shallowBytes }: HeapSummary, io: Io): string[] {
  const isRetained = classes[0]?.retainedBytes !== undefined
  const more = classCount - classes.length
  return [
    ...renderTable(
      [
        { title: 'class', align: 'left' },
        { title: 'count', align: 'right' },
        { title: 'shallow', align: 'right' },
        ...(isRetained ? [{ title: 'retained', align: 'right' } as const] : []),
        { title: 'share', align: 'right', optional: 1 },
      ],
      classes.map(({ name, count, shallowBytes: bytes, retainedBytes }) => [
        clip(printable(name), nameWidth(io)),
        formatCount(count),
        formatBytes(bytes),
        ...(isRetained ? [formatBytes(retainedBytes ?? 0)] : []),
        share(retainedBytes ?? bytes, shallowBytes),
      ]),
      io.style.dim,
      io.tableWidth,
    ),
    ...(more > 0 ? [io.style.dim(`  and ${formatCount(more)} more; use --top to see them`)] : []),
  ]
}

function describeObjects(objects: readonly ObjectSummary[], all: number, io: Io): string[] {
  return renderTable(
    [
      { title: 'retained', align: 'right' },
      { title: 'share', align: 'right', optional: 1 },
      { title: 'where memory accumulates, and the path to it', align: 'left' },
    ],
    objects.map((object) => [
      formatBytes(object.retainedBytes),
      share(object.retainedBytes, all),
      clipStart(wayTo(object.path), Math.min(io.tableWidth, 200) - 24),
    ]),
    io.style.dim,
    io.tableWidth,
  )
}

/** `global .cache Map .table (array)`, with the id that DevTools shows. */
function wayTo(path: readonly Step[]): string {
  const id = path.at(-1)?.id ?? 0
  const steps = path.map((step) => `${step.edge === undefined ? '→' : clip(step.edge, 30)} ${nameOf(step)}`)
  return `${printable(steps.join(' ')).replace(/^→ /, '')} @${id}`
}

function nameOf({ type, name }: Step): string {
  const text = clip(name, 40)
  if (/string$/.test(type)) return JSON.stringify(text)
  return type === 'closure' ? `${text}()` : text
}

function describeStrings({ largestStrings }: HeapSummary, { style, tableWidth }: Io): string[] {
  return renderTable(
    [
      { title: 'shallow', align: 'right' },
      { title: 'largest strings', align: 'left' },
    ],
    largestStrings.map(({ id, shallowBytes, text }) => [
      formatBytes(shallowBytes),
      `${clip(printable(JSON.stringify(text)), Math.min(tableWidth, 120) - 32)} @${id}`,
    ]),
    style.dim,
    tableWidth,
  )
}

function share(bytes: number, all: number): string {
  return all === 0 ? '' : `${formatNumber((100 * bytes) / all)} %`
}

/** Columns for the name of a class, next to the numbers. */
export function nameWidth({ tableWidth }: Io): number {
  return Math.max(20, Math.min(tableWidth, 120) - 48)
}

function clipStart(text: string, length: number): string {
  return text.length <= length ? text : `…${text.slice(text.length - length + 1)}`
}
