/**
 * Promise: a heap snapshot is read correctly, or refused with an explanation: sizes and retained
 * sizes equal those of DevTools, whatever the order of fields, and no number in the file is
 * trusted. Proved against DevTools' own reader (packed by heap-snapshot-toolkit), against a
 * computation on small random heaps that follows the definition, and with bad files.
 */

import { createReadStream, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { parse } from 'heap-snapshot-toolkit'
import { describe, expect, it, test } from 'vitest'
import { snapshotState } from '../../lib/heap/index.js'
import { compareHeapSnapshots } from '../../lib/heap-file/compare.js'
import { type HeapSummary, type SummaryOptions, summarizeHeapSnapshot } from '../../lib/heap-file/summary.js'
import { snapshot } from '../../lib/index.js'
import { startFixture } from '../support/fixture.js'
import {
  edgeTypes,
  likeV8,
  type Made,
  type MakeOptions,
  makeHeapSnapshot,
  nodeTypes,
} from '../support/heap-file.js'
import { seeded } from '../support/random.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

const summarize = (path: string, options: Partial<SummaryOptions> = {}): Promise<HeapSummary> =>
  summarizeHeapSnapshot(path, { top: 300, shallow: false, ...options })

/** Writes a heap as a file. */
function write(made: Made, options?: MakeOptions): string {
  const path = inDirectory('made.heapsnapshot')
  writeFileSync(path, likeV8(makeHeapSnapshot(made, options)))
  return path
}

/** A root, a global object, and a list of three members, two of which are also in a cache. */
const small: Made = {
  nodes: [
    { type: 'synthetic', name: '', size: 0 },
    { type: 'object', name: 'global', size: 100 },
    { type: 'object', name: 'List', size: 10 },
    { type: 'object', name: 'Member', size: 1 },
    { type: 'object', name: 'Member', size: 2 },
    { type: 'object', name: 'Member', size: 4 },
    { type: 'array', name: '', size: 1000 },
    { type: 'closure', name: 'go "home"', size: 20 },
    { type: 'string', name: 'a long text', size: 300 },
  ],
  edges: [
    { from: 0, to: 1, type: 'shortcut', name: 'global' },
    { from: 1, to: 2, type: 'property', name: 'list' },
    { from: 1, to: 7, type: 'property', name: 'go' },
    { from: 2, to: 6, type: 'internal', name: 'elements' },
    { from: 6, to: 3, type: 'element', name: 0 },
    { from: 6, to: 4, type: 'element', name: 1 },
    { from: 6, to: 5, type: 'element', name: 2 },
    { from: 7, to: 5, type: 'context', name: 'last' },
    { from: 7, to: 4, type: 'weak', name: 1 },
    { from: 3, to: 8, type: 'property', name: 'text' },
  ],
}

/** Checks the summary of `small`. */
function expectSmall(summary: HeapSummary): void {
  const byName = Object.fromEntries(
    summary.classes.map(({ name, count, shallowBytes, retainedBytes }) => [
      name,
      [count, shallowBytes, retainedBytes],
    ]),
  )
  expect(byName).toEqual({
    global: [1, 100, 1437],
    List: [1, 10, 1313],
    '(array)': [1, 1000, 1303],
    Member: [3, 7, 307],
    '(string)': [1, 300, 300],
    Function: [1, 20, 20],
  })
  expect(summary).toMatchObject({ nodes: 9, edges: 10, shallowBytes: 1437 })
}

describe('a heap made by hand', () => {
  it('is told by class, type, object and string', async () => {
    const summary = await summarize(write(small))
    expectSmall(summary)
    expect(summary.types[0]).toEqual({ type: 'array', count: 1, shallowBytes: 1000 })
    expect(summary.types.find(({ type }) => type === 'object')).toEqual({
      type: 'object',
      count: 5,
      shallowBytes: 117,
    })
    expect(summary.largestStrings).toEqual([{ id: 17, shallowBytes: 300, text: 'a long text' }])
    // The global object only leads to the list, and the elements are part of the list.
    expect(summary.objects?.map(({ name, retainedBytes }) => [name, retainedBytes])).toEqual([
      ['List', 1313],
      ['a long text', 300],
      ['go "home"', 20],
      ['Member', 4],
      ['Member', 2],
    ])
    expect(summary.objects?.[1]?.path.map(({ name, edge }) => [edge, name])).toEqual([
      [undefined, 'global'],
      ['.list', 'List'],
      ['.elements', '(array)'],
      ['[0]', 'Member'],
      ['.text', 'a long text'],
    ])
  })

  const orders: [string, MakeOptions][] = [
    [
      'turned round',
      {
        nodeFields: ['edge_count', 'self_size', 'id', 'name', 'type'],
        edgeFields: ['to_node', 'name_or_index', 'type'],
      },
    ],
    [
      'with fields that nobody knows',
      {
        nodeFields: ['a', 'type', 'b', 'id', 'name', 'self_size', 'c', 'edge_count'],
        edgeFields: ['x', 'type', 'name_or_index', 'y', 'to_node'],
      },
    ],
    ['without what older engines lack', { nodeFields: ['type', 'name', 'id', 'self_size', 'edge_count'] }],
  ]
  it.each(orders)('%s is the same', async (_, options) => {
    expectSmall(await summarize(write(small, options)))
  })

  it('laid out for people is the same', async () => {
    const path = inDirectory('pretty.heapsnapshot')
    writeFileSync(path, JSON.stringify(makeHeapSnapshot(small), null, 2))
    expectSmall(await summarize(path))
  })

  it('without its graph has the same classes, and says what is missing', async () => {
    const { classes, objects, shallowOnly, largestStrings } = await summarize(write(small), { shallow: true })
    expect(classes.map(({ name, retainedBytes }) => [name, retainedBytes])).toEqual(
      ['(array)', '(string)', 'global', 'Function', 'List', 'Member'].map((name) => [name, undefined]),
    )
    expect(objects).toBeUndefined()
    expect(shallowOnly?.reason).toBe('asked')
    expect(largestStrings).toHaveLength(1)
  })

  it('too large for the memory has the same classes, and says so', async () => {
    // According to the documentation: 9 nodes of 48 bytes and 10 edges of 8 bytes.
    expectSmall(await summarize(write(small), { availableBytes: 9 * 48 + 10 * 8 }))
    const { classes, shallowOnly } = await summarize(write(small), { availableBytes: 9 * 48 + 10 * 8 - 1 })
    expect(shallowOnly).toEqual({ reason: 'memory', neededBytes: 512, availableBytes: 511 })
    expect(classes[0]).toEqual({ name: '(array)', count: 1, shallowBytes: 1000 })
  })

  it('of Chrome has its elements by tag, detached ones apart', async () => {
    const element = (name: string, detachedness: number) => ({ type: 'native', name, size: 8, detachedness })
    const made: Made = {
      nodes: [
        { type: 'synthetic', name: '', size: 0 },
        { type: 'synthetic', name: '(Document DOM trees)', size: 0 },
        ...[element('<div id="a">', 1), element('<div id="b" class="c">', 1), element('<div>', 1)],
        ...[element('<div id="a">', 2), element('Detached <div id="x">', 2)],
      ],
      edges: [
        { from: 0, to: 1, type: 'element', name: 1 },
        ...[2, 3, 4, 5, 6].map((to) => ({ from: 1, to, type: 'element', name: to })),
      ],
    }
    const { classes } = await summarize(write(made))
    expect(classes.map(({ name, count }) => [name, count])).toEqual([
      ['<div>', 3],
      ['Detached <div>', 2],
    ])
  })

  it('tells what the program owns as the program’s, whatever of the engine knows it', async () => {
    const made: Made = {
      nodes: [
        { type: 'synthetic', name: '', size: 0 },
        { type: 'object', name: 'global', size: 1 },
        { type: 'synthetic', name: '(GC roots)', size: 0 },
        { type: 'object', name: 'Owner', size: 10 },
        { type: 'object', name: 'Owned', size: 100 },
      ],
      edges: [
        { from: 0, to: 1, type: 'shortcut', name: 'global' },
        { from: 0, to: 2, type: 'element', name: 1 },
        { from: 1, to: 3, type: 'property', name: 'owner' },
        { from: 2, to: 4, type: 'internal', name: 'handle' },
        { from: 3, to: 4, type: 'property', name: 'owned' },
      ],
    }
    const { classes } = await summarize(write(made))
    expect(classes.find(({ name }) => name === 'Owner')?.retainedBytes).toBe(110)
  })

  it('tells a value of a WeakMap as its key’s', async () => {
    const pair = ' / part of key (Key @5) -> value (Value @9) pair in WeakMap (table @7)'
    const made: Made = {
      nodes: [
        { type: 'synthetic', name: '', size: 0 },
        { type: 'object', name: 'global', size: 1 },
        { type: 'object', name: 'Key', size: 10 },
        { type: 'array', name: 'table', size: 100 },
        { type: 'object', name: 'Value', size: 1000 },
      ],
      edges: [
        { from: 0, to: 1, type: 'shortcut', name: 'global' },
        { from: 1, to: 2, type: 'property', name: 'key' },
        { from: 1, to: 3, type: 'property', name: 'map' },
        { from: 2, to: 4, type: 'internal', name: `1${pair}` },
        { from: 3, to: 4, type: 'internal', name: `1${pair}` },
      ],
    }
    const { classes } = await summarize(write(made))
    expect(classes.find(({ name }) => name === 'Key')?.retainedBytes).toBe(1010)
  })
})

/**
 * Computes retained sizes by definition: a node retains all nodes that become unreachable without
 * it.
 */
function retainedByDefinition({ nodes, edges }: Made): { byClass: Map<string, number>; of: number[] } {
  const strong = edges.filter(({ type }) => type !== 'weak')
  const reach = (from: number[], along: typeof edges, without = -1): Set<number> => {
    const seen = new Set(from.filter((node) => node !== without))
    for (const node of seen) {
      for (const edge of along) if (edge.from === node && edge.to !== without) seen.add(edge.to)
    }
    return seen
  }
  const owned = reach(
    strong.filter(({ from, type }) => from === 0 && type === 'shortcut').map(({ to }) => to),
    strong,
  )
  const retaining = strong.filter(({ from, to, type }) => {
    if (from === to) return false
    return from === 0 || (type !== 'shortcut' && (owned.has(from) || !owned.has(to)))
  })
  const orphans = nodes.map((_, node) => node).filter((node) => !retaining.some(({ to }) => to === node))
  const starts = [0, ...orphans]
  const reached = reach(starts, retaining)
  const sizeOf = (set: Iterable<number>): number =>
    [...set].reduce((sum, node) => sum + (nodes[node]?.size ?? 0), 0)
  const dominated = nodes.map((_, node) => {
    if (node === 0) return new Set(nodes.keys())
    if (!reached.has(node)) return new Set([node])
    const left = reach(starts, retaining, node)
    return new Set([...reached].filter((other) => !left.has(other)))
  })
  const byClass = new Map<string, number>()
  for (const [node, { name, size }] of nodes.entries()) {
    if (size === 0) continue
    const isInAnother = nodes.some(
      (other, index) =>
        index !== node && other.size > 0 && other.name === name && dominated[index]?.has(node),
    )
    if (!isInAnother) byClass.set(name, (byClass.get(name) ?? 0) + sizeOf(dominated[node] ?? []))
  }
  return { byClass, of: dominated.map((set) => sizeOf(set)) }
}

test('retained sizes of random heaps are those of the definition', async () => {
  const heap = fc.integer({ min: 2, max: 12 }).chain((length) =>
    fc.record({
      sizes: fc.array(fc.nat(3), { minLength: length, maxLength: length }),
      classes: fc.array(fc.nat(3), { minLength: length, maxLength: length }),
      edges: fc.array(
        fc.tuple(
          fc.nat(length - 1),
          fc.nat(length - 1),
          fc.constantFrom('property', 'property', 'weak', 'shortcut', 'internal'),
        ),
        { maxLength: 3 * length },
      ),
    }),
  )
  const property = fc.asyncProperty(heap, async ({ sizes, classes, edges }) => {
    const made: Made = {
      nodes: sizes.map((size, index) =>
        index === 0
          ? { type: 'synthetic', name: '', size: 0 }
          : { type: 'object', name: `Class${classes[index]}`, size: size * 4 ** index },
      ),
      edges: edges.map(([from, to, type]) => ({ from, to, type, name: 'edge' })),
    }
    const { byClass } = retainedByDefinition(made)
    const told = (await summarize(write(made))).classes
    expect(new Map(told.map(({ name, retainedBytes }) => [name, retainedBytes]))).toEqual(byClass)
  })
  await fc.assert(property, seeded(150))
})

test('a chain of 200,000 objects that all know the first, is no matter of hours or of stack', async () => {
  const length = 200_000
  const nodes = Array.from({ length }, (_, index) => [
    index === 0 ? 9 : 3,
    1,
    index * 2 + 1,
    index === 0 ? 0 : 1,
    index === 0 ? 1 : 2,
  ])
  const edges = nodes.map((_, index) => [
    ...(index + 1 < length ? [2, 1, (index + 1) * 5] : []),
    ...(index > 0 ? [2, 1, index + 1 < length ? 5 : 10] : []),
    ...(index > 0 && index + 1 === length ? [2, 1, 5] : []),
  ])
  const fields = {
    node_fields: ['type', 'name', 'id', 'self_size', 'edge_count'],
    edge_fields: ['type', 'name_or_index', 'to_node'],
  }
  const meta = { ...fields, node_types: [nodeTypes], edge_types: [edgeTypes] }
  const flat = edges.flat()
  const path = inDirectory('chain.heapsnapshot')
  const header = { meta, node_count: length, edge_count: flat.length / 3 }
  writeFileSync(
    path,
    JSON.stringify({ snapshot: header, nodes: nodes.flat(), edges: flat, strings: ['', 'Link'] }),
  )
  const { classes } = await summarize(path, { top: 1 })
  expect(classes[0]).toEqual({
    name: 'Link',
    count: length - 1,
    shallowBytes: length - 1,
    retainedBytes: length - 1,
  })
})

describe('a file of V8', () => {
  /** Writes a snapshot of a process with a leak larger than anything else in it. */
  async function leaky(): Promise<string> {
    const path = inDirectory('leaky.heapsnapshot')
    const fixture = startFixture(new URL('fixtures/leaky.mjs', import.meta.url), [path])
    await fixture.report()
    await fixture.end
    return path
  }

  test('gives what DevTools makes of it, for each class and each object', async () => {
    const path = await leaky()
    const ours = await summarize(path)
    const theirs = await parse(createReadStream(path, 'utf8'))
    // biome-ignore lint/suspicious/noExplicitAny: its types hide what is needed
    const heap = theirs as any
    const nodeAt = new Map<number, number>()
    for (let node = 0; node < heap.nodeCount; node++) {
      nodeAt.set(heap.nodes.getValue(node * heap.nodeFieldCount + heap.nodeIdOffset), node)
    }
    expect(ours.shallowBytes).toBe(heap.totalSize)
    expect(ours.objects?.length).toBeGreaterThan(100)
    for (const { id, name, retainedBytes } of ours.objects ?? []) {
      expect([name, retainedBytes]).toEqual([name, heap.retainedSizes[nodeAt.get(id) ?? -1]])
    }
    // DevTools attributes inner parts of an object to the object, groups plain objects by their
    // properties, and calls all objects detached that belong to a detached native object.
    const inner = /^\((array|system)\)$|^Object$|^Detached |ExternalStringData/
    const byName = new Map<string, [count: number, retained: number] | undefined>()
    for (const { name, count, maxRet } of Object.values(heap.aggregatesWithFilter({})) as never[]) {
      // DevTools distinguishes constructors of the same name by their position in the source.
      byName.set(name, byName.has(name) ? undefined : [count, maxRet])
    }
    let compared = 0
    for (const { name, count, retainedBytes = 0 } of ours.classes) {
      const other = byName.get(name)
      if (inner.test(name) || other === undefined || byName.has(`Detached ${name}`)) continue
      compared++
      expect([name, count, retainedBytes]).toEqual([name, ...other])
    }
    expect(compared).toBeGreaterThan(50)
    // The first object found is the leak, below the global object and its holder.
    expect(ours.classes.filter(({ name }) => name === 'Planted')).toEqual([
      expect.objectContaining({ count: 20_000, retainedBytes: expect.any(Number) }),
    ])
    const found = ours.objects?.find(({ name }) => !/^global|NativeContext/.test(name))
    expect(found?.path.at(-1)).toMatchObject({ name: 'Array', edge: '.leak' })
  })
})

test('files of a process that goes on tell new objects by lasting ids, and only by these', async () => {
  const fixture = startFixture(new URL('fixtures/churning.mjs', import.meta.url), [inDirectory()])
  await fixture.report()
  await fixture.end
  const compare = async (before: string, after: string) => {
    const { idsAreLasting, classes } = await compareHeapSnapshots(inDirectory(before), inDirectory(after))
    return [idsAreLasting, classes.find(({ name }) => name === 'Session')]
  }
  const replaced = { name: 'Session', countDelta: 0, newObjects: 500 }
  expect(await compare('stable-before', 'stable-after')).toEqual([true, expect.objectContaining(replaced)])
  expect(await compare('v8-before', 'v8-after')).toEqual([true, expect.objectContaining(replaced)])
  expect(await compare('stable-before', 'v8-after')).toEqual([true, expect.objectContaining(replaced)])
  // The number of sessions is the same, so there is nothing to report.
  expect(await compare('own-before', 'own-after')).toEqual([false, undefined])
  expect(await compare('v8-before', 'own-after')).toEqual([false, undefined])
})

describe('a file that is none, or a damaged one', () => {
  const withBytes = (bytes: string | Buffer): string => {
    const path = inDirectory('bad.heapsnapshot')
    writeFileSync(path, bytes)
    return path
  }
  const none: [string, () => string | Promise<string>, RegExp][] = [
    ['of 0 bytes', () => withBytes(''), /empty.*before it had written.*near-heap-limit/],
    ['of text', () => withBytes('hello'), /does not begin like one/],
    ['of other JSON', () => withBytes('{"nodes":[],"edges":[]}'), /JSON of another kind/],
    ['that is an array', () => withBytes('[1]'), /does not begin like one/],
    ['that was packed', () => withBytes(Buffer.from([0x1f, 0x8b, 8, 0])), /gunzip/],
    ['with another header', () => withBytes('{"snapshot":{"meta":1,"node_count":1},"nodes":[]}'), /header/],
    ['that is a directory', () => inDirectory(), /directory/],
    [
      'of values',
      async () => {
        await snapshotState(inDirectory('values'), (out) => out.value(1)).done
        return inDirectory('values')
      },
      /file of values/,
    ],
    [
      'of memory',
      async () => {
        await snapshot(new Uint8Array(10), inDirectory('image')).done
        return inDirectory('image')
      },
      /stillframe inspect/,
    ],
  ]
  it.each(none)('%s: FORMAT', async (_, make, message) => {
    const path = await make()
    await expect(summarize(path)).rejects.toMatchObject({ code: 'ERR_STILLFRAME_FORMAT', path })
    await expect(summarize(path)).rejects.toThrow(message)
    await expect(compareHeapSnapshots(path, path)).rejects.toThrow(message)
  })

  it('missing: IO', async () => {
    const expected = { code: 'ERR_STILLFRAME_IO', errnoName: 'ENOENT' }
    await expect(summarize(inDirectory('missing'))).rejects.toMatchObject(expected)
  })

  // biome-ignore lint/suspicious/noExplicitAny: tests put anything in
  const edits: [string, (document: any) => void, RegExp][] = [
    [
      '10^15 nodes',
      ({ snapshot }) => (snapshot.node_count = 1e15),
      /1000000000000000 as node_count.*cannot hold/,
    ],
    ['10^15 edges', ({ snapshot }) => (snapshot.edge_count = 1e15), /edge_count.*cannot hold/],
    ['half a node', ({ snapshot }) => (snapshot.node_count = 1.5), /no node_count/],
    ['less than no edges', ({ snapshot }) => (snapshot.edge_count = -1), /no edge_count/],
    ['no node', ({ snapshot }) => (snapshot.node_count = 0), /no node_count/],
    ['a node too few', ({ snapshot }) => (snapshot.node_count = 10), /promises 10 nodes/],
    ['a node too many', ({ snapshot }) => (snapshot.node_count = 8), /promises 8 nodes/],
    ['an edge too few', ({ snapshot }) => (snapshot.edge_count = 11), /fewer edges/],
    ['an edge too many', ({ snapshot }) => (snapshot.edge_count = 9), /more edges/],
    ['edges that are not there', ({ edges }) => edges.splice(-3), /promises 10 edges/],
    ['edges that are too many', ({ edges }) => edges.push(2, 1, 7), /promises 10 edges/],
    ['half a record', ({ nodes }) => nodes.push(1), /promises 9 nodes/],
    ['a name out of range', ({ nodes }) => (nodes[8] = 40), /names of its classes/],
    ['a name far out of range', ({ nodes }) => (nodes[8] = 4e9), /name of a node is out of range/],
    ['a type out of range', ({ nodes }) => (nodes[7] = 99), /type of a node is out of range/],
    ['an edge of no type', ({ edges }) => (edges[0] = 7), /type of an edge is out of range/],
    ['an edge to nowhere', ({ edges }) => (edges[2] = 63), /target of an edge is out of range/],
    ['an edge into a node', ({ edges }) => (edges[2] = 8), /target of an edge is out of range/],
    ['a number below 0', ({ nodes }) => (nodes[3] = -8), /'-' where a whole number should begin/],
    ['a number that is none', ({ nodes }) => (nodes[3] = 'x'), /'"' where a whole number should begin/],
    ['no fields', ({ snapshot }) => (snapshot.meta.node_fields = []), /node_fields/],
    ['a field twice', ({ snapshot }) => (snapshot.meta.node_fields[5] = 'id'), /occurs twice/],
    ['no size', ({ snapshot }) => (snapshot.meta.node_fields[3] = 'weight'), /no 'self_size'/],
    ['no target', ({ snapshot }) => (snapshot.meta.edge_fields[2] = 'to'), /no 'to_node'/],
    ['no types', ({ snapshot }) => (snapshot.meta.node_types = 'none'), /node_types/],
    ['a root elsewhere', ({ snapshot }) => (snapshot.root_index = 900), /no root/],
    ['no strings', (document) => (document.strings = undefined), /no "strings"/],
    ['no edges', (document) => (document.edges = undefined), /no "edges"/],
    ['strings that are numbers', (document) => (document.strings = [1]), /between the strings/],
  ]
  it.each(edits)('with %s: CORRUPT', async (_, edit, message) => {
    const path = write(small, { edit })
    await expect(summarize(path)).rejects.toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path })
    await expect(summarize(path)).rejects.toThrow(message)
  })

  it('with its parts in another order: CORRUPT', async () => {
    const { snapshot, nodes, edges, strings } = makeHeapSnapshot(small)
    const path = withBytes(JSON.stringify({ snapshot, edges, nodes, strings }))
    await expect(summarize(path)).rejects.toThrow(/"edges" comes before "nodes"/)
  })

  it('cut short anywhere is told with the place', async () => {
    const path = write(small)
    const length = readFileSync(path).length
    for (let cut = length - 1; cut > 0; cut -= 7) {
      truncateSync(path, cut)
      for (const shallow of [false, true]) {
        const error = await summarize(path, { shallow }).then(
          () => undefined,
          (reason: Error) => reason,
        )
        expect(error, `cut at ${cut}`).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
        expect(error?.message).toMatch(/truncated/)
        if (!/cannot hold/.test(error?.message ?? '')) expect(error).toMatchObject({ offset: cut })
      }
    }
  })

  it('with any byte changed gives an error of its kind, or an answer', async () => {
    const path = write(small)
    const bytes = readFileSync(path)
    const property = fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(255), async (at, value) => {
      const changed = Buffer.from(bytes)
      changed[at] = value
      writeFileSync(path, changed)
      await summarize(path).catch((error: unknown) => {
        expect(error).toMatchObject({ code: expect.stringMatching(/^ERR_STILLFRAME_(CORRUPT|FORMAT)$/) })
      })
    })
    await fc.assert(property, seeded(400))
  })
})

describe('two files', () => {
  const grown: Made = {
    nodes: [
      ...small.nodes,
      { type: 'object', name: 'Fresh', size: 50, id: 101 },
      { type: 'object', name: 'Member', size: 8, id: 103 },
    ],
    edges: [
      ...small.edges,
      { from: 1, to: 9, type: 'property', name: 'fresh' },
      { from: 1, to: 10, type: 'property', name: 'member' },
    ],
  }
  function files(idsOf: (made: Made) => Made): [string, string] {
    const paths: [string, string] = [inDirectory('a.heapsnapshot'), inDirectory('b.heapsnapshot')]
    writeFileSync(paths[0], likeV8(makeHeapSnapshot(small)))
    writeFileSync(paths[1], likeV8(makeHeapSnapshot(idsOf(grown))))
    return paths
  }

  it('with lasting ids are told by class, and new objects are counted', async () => {
    const comparison = await compareHeapSnapshots(...files((made) => made))
    expect(comparison).toMatchObject({ idsAreLasting: true, newObjects: 2 })
    expect(comparison.classes).toEqual([
      { name: 'Fresh', count: [0, 1], shallowBytes: [0, 50], countDelta: 1, shallowDelta: 50, newObjects: 1 },
      { name: 'Member', count: [3, 4], shallowBytes: [7, 15], countDelta: 1, shallowDelta: 8, newObjects: 1 },
    ])
  })

  it('with ids of their own each are told by class only', async () => {
    const others = (made: Made): Made => ({
      ...made,
      nodes: made.nodes.map((node, index) => ({ ...node, id: 1001 + index * 2 })),
    })
    const comparison = await compareHeapSnapshots(...files(others))
    expect(comparison).toMatchObject({ idsAreLasting: false, classesOnly: 'ids' })
    expect(comparison.newObjects).toBeUndefined()
    expect(comparison.classes[0]).toEqual({
      name: 'Fresh',
      count: [0, 1],
      shallowBytes: [0, 50],
      countDelta: 1,
      shallowDelta: 50,
    })
  })

  it('of two processes, whose ids mean other objects, are told by class only', async () => {
    const shifted = (made: Made): Made => ({
      ...made,
      nodes: made.nodes.map((node, index) => ({
        ...node,
        id: ((index + 3) % 9) * 2 + 1 + (index > 8 ? 200 : 0),
      })),
    })
    expect((await compareHeapSnapshots(...files(shifted))).idsAreLasting).toBe(false)
  })

  it('without memory for ids are told by class only', async () => {
    const comparison = await compareHeapSnapshots(...files((made) => made), { availableBytes: 9 * 8 - 1 })
    expect(comparison).toMatchObject({ idsAreLasting: false, classesOnly: 'memory' })
    expect(comparison.classes).toHaveLength(2)
  })

  it('that are swapped tell what is gone', async () => {
    const [a, b] = files((made) => made)
    const { classes, newObjects } = await compareHeapSnapshots(b, a)
    expect(newObjects).toBe(0)
    expect(classes.map(({ name, countDelta }) => [name, countDelta])).toEqual([
      ['Member', -1],
      ['Fresh', -1],
    ])
  })
})
