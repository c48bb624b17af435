/**
 * Promise: a heap summary agrees with V8's own heap snapshot about the contents of the heap, needs
 * only a small part of its memory, and is valid and readable JSON whatever names and strings the
 * service has. Proved by comparing both for the same state of one process.
 */

import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, expect, test } from 'vitest'
import { renderHeapSummary } from '../../lib/cli/heap-summary-table.js'
import { type HeapSummary, writeHeapSummary } from '../../lib/heap/index.js'
import type { Report } from '../support/fixture.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const directory = sharedTemporaryDirectory()

interface Counted {
  count: number
  bytes: number
}

/**
 * Objects in the snapshot and in the summary: JavaScript objects by class, V8's objects by type.
 */
let byV8: Map<string, Counted>
let ours: Map<string, Counted>
let summary: HeapSummary
let redacted: string
let ofWorker: HeapSummary
let copiedBytesPeak: number

const read = (path: string): HeapSummary => JSON.parse(readFileSync(path, 'utf8'))

function add(to: Map<string, Counted>, key: string, count: number, bytes: number): void {
  const so = to.get(key) ?? { count: 0, bytes: 0 }
  to.set(key, { count: so.count + count, bytes: so.bytes + bytes })
}

/** Counts the nodes in V8's file, which is small enough to parse in one piece. */
function readSnapshot(path: string): Map<string, Counted> {
  const { snapshot, nodes, strings } = JSON.parse(readFileSync(path, 'utf8'))
  const { node_fields: fields, node_types: types } = snapshot.meta
  const counted = new Map<string, Counted>()
  for (let at = 0; at < nodes.length; at += fields.length) {
    const type = types[0][nodes[at]]
    const name = type === 'object' ? strings[nodes[at + 1]] : `:${type}`
    add(counted, name, 1, nodes[at + fields.indexOf('self_size')])
  }
  return counted
}

/** Runs a program and returns its report. */
async function run(program: string, ...args: string[]): Promise<Report> {
  const path = fileURLToPath(new URL(`fixtures/${program}`, import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', path, ...args])
  return JSON.parse(stdout)
}

beforeAll(async () => {
  const report = await run('summary.mjs', directory)
  summary = read(report['summary'].path)
  copiedBytesPeak = report['summary'].copiedBytesPeak
  redacted = readFileSync(report['redacted'].path, 'utf8')
  ofWorker = read(report['worker'])
  byV8 = readSnapshot(report['snapshot'])
  ours = new Map()
  for (const { name, type, count, shallowBytes } of summary.classes ?? []) {
    add(ours, type === 'object' ? name : `:${type}`, count, shallowBytes)
  }
}, 600_000)

type Measure = 'count' | 'bytes'
const both: readonly Measure[] = ['count', 'bytes']
const near = (of: string, fraction: number, apart: number, measures = both): void => {
  const mine = ours.get(of)
  const theirs = byV8.get(of)
  for (const what of measures) {
    const limit = apart * (what === 'count' ? 1 : 64) + fraction * (theirs?.[what] ?? 0)
    expect(Math.abs((mine?.[what] ?? 0) - (theirs?.[what] ?? 0)), `${of}: ${what}`).toBeLessThanOrEqual(limit)
  }
}

test('it is complete, and says what it is of', () => {
  expect(summary.reason).toBeUndefined()
  expect(summary).toMatchObject({
    format: 'stillframe-heap-summary',
    version: 1,
    node: process.versions.node,
    v8: process.versions.v8,
    thread: 0,
    trigger: 'call',
    redacted: false,
    complete: true,
    others: { count: 0, shallowBytes: 0 },
  })
  expect(Math.abs(Date.parse(summary.time) - Date.now())).toBeLessThan(3_600_000)
  expect(summary.heap.usedBytes).toBeGreaterThan(10e6)
  expect(summary.heap.externalBytes).toBeGreaterThan(10e6)
  expect(summary.heap.limitBytes).toBeGreaterThan(summary.heap.usedBytes)
  expect(summary.spaces.map((space) => space.name)).toContain('old_space')
})

test('it counts the objects of each class as V8 does', () => {
  for (const [name, count] of [
    ['LeakedSession', 50_000],
    ['Derived', 700],
    ['__proto__', 300],
  ] as const) {
    // The prototype of a class counts as one of its objects.
    expect((ours.get(name)?.count ?? 0) - count, name).toBeGreaterThanOrEqual(0)
    near(name, 0, 5)
  }
  for (const name of ['Map', 'Float64Array', 'Array', 'Object']) near(name, 0.02, 40)
  const [largest] = (summary.classes ?? []).filter(({ type }) => type === 'object')
  expect(largest?.name).toBe('LeakedSession')
})

test('it counts what is V8’s own by type', () => {
  near(':closure', 0.02, 100)
  // Newer versions of V8 also count the memory of strings outside the heap.
  near(':string', 0.03, 1_000, ['count'])
  near(':concatenated string', 0.02, 300)
  near(':sliced string', 0.02, 50)
  near(':number', 0.02, 500)
  near(':bigint', 0.02, 20)
  near(':regexp', 0.02, 20)
  near(':array', 0.1, 8_000)
  near('system / Context', 0.05, 200)
})

test('it tells the largest strings of every kind, and no more than their beginning', () => {
  const [flat, external, wide] = [...(summary.strings?.largest ?? [])]
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, 3)
  expect(flat).toMatchObject({ bytes: 3_000_007, length: 3_000_007, external: false })
  expect(flat?.start).toBe(`flat-ÿ-${'x'.repeat(93)}`)
  expect(external).toMatchObject({ bytes: 2_000_014, length: 1_000_007, external: false })
  expect(external?.start).toBe(`wide-Ω-${'ж'.repeat(93)}`)
  expect(wide).toMatchObject({ bytes: 2_000_000, length: 2_000_000, external: true })
  expect(wide?.start).toBe('external-'.repeat(12).slice(0, 100))
  expect(summary.strings?.largest).toHaveLength(20)
})

test('redact leaves out what strings hold', () => {
  for (const secret of ['flat-', 'wide-', 'external-', 'user 4']) expect(redacted).not.toContain(secret)
  const { strings, redacted: flag, classes } = JSON.parse(redacted) as HeapSummary
  expect(flag).toBe(true)
  expect(strings?.largest[0]).toEqual({ bytes: 3_000_007, length: 3_000_007, external: false })
  expect(classes?.some(({ name }) => name === 'LeakedSession')).toBe(true)
})

test('it tells the largest buffers, each once', () => {
  const sizes = summary.buffers?.largest.map(({ bytes }) => bytes) ?? []
  expect(sizes.slice(0, 3)).toEqual([7e6, 5e6, 3e6])
  expect(summary.buffers?.bytes).toBeGreaterThanOrEqual(15e6)
})

test('it tells contexts', () => {
  expect(summary.contexts.native).toBeGreaterThanOrEqual(2)
})

test('a Worker’s summary is of its own heap', () => {
  const count = (of: HeapSummary, wanted: string): number =>
    of.classes?.find(({ name }) => name === wanted)?.count ?? 0
  expect(count(ofWorker, 'OnlyInWorker')).toBeGreaterThanOrEqual(1000)
  expect(count(ofWorker, 'LeakedSession')).toBe(0)
  expect(ofWorker.thread).toBeGreaterThan(0)
  expect(ofWorker.complete, ofWorker.reason).toBe(true)
})

test('the table fits into 80 columns, and holds nothing that a terminal obeys', () => {
  const lines = renderHeapSummary(summary, 15)
  // A name that would clear the screen, reverse the text, or fill the page.
  expect(summary.classes?.some(({ name }) => name.startsWith('\x1b[2J"\u202e\u009b\ufffdNN'))).toBe(true)
  for (const line of lines) {
    expect(line.length, line).toBeLessThanOrEqual(80)
    expect(line).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  }
  expect(lines.join('\n')).toMatch(/LeakedSession +object +50,00\d/)
})

test('the copy takes little memory beside the heap', async () => {
  // The value is lower still if the kernel hides the copy's pages.
  expect(copiedBytesPeak).toBeLessThan(32 * 2 ** 20)
  const path = join(directory, 'big')
  const report = await run('big-heap.mjs', path, '256')
  const big = read(path)
  expect(big.complete, big.reason).toBe(true)
  expect(report['copiedBytesPeak']).toBeLessThan(big.heap.usedBytes / 32 + 32 * 2 ** 20)
  const [largest] = (big.classes ?? []).filter(({ type }) => type === 'object')
  expect(largest?.name).toBe('Leaked')
  expect(Math.abs((largest?.count ?? 0) / report['count'] - 1)).toBeLessThan(0.01)
}, 600_000)

test('options are checked', () => {
  // @ts-expect-error: ids have no meaning in a summary
  expect(() => writeHeapSummary('x', { stableIds: true })).toThrow(/stableIds/)
  // @ts-expect-error: not a boolean
  expect(() => writeHeapSummary('x', { redact: 'yes' })).toThrow(/redact/)
  // @ts-expect-error: a summary has no default name
  expect(() => writeHeapSummary()).toThrow(TypeError)
})
