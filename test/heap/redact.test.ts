/**
 * Promise: with `redact` the file has names, but no content of any string, and is otherwise
 * unchanged. Proved by secrets in all places where a service has text: each is found in a file
 * without `redact` of the same process, and in no form in the redacted file, which Chrome DevTools'
 * reader opens.
 */

import { execFile } from 'node:child_process'
import { createReadStream, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parse } from 'heap-snapshot-toolkit'
import { beforeAll, describe, expect, test } from 'vitest'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { greekOf, secretOf } from './secret.mjs'

const directory = sharedTemporaryDirectory()
const program = new URL('fixtures/secrets.mjs', import.meta.url)
const seed = Math.random().toString(36)

/** The parts of a heap snapshot that these tests need. */
interface HeapFile {
  bytes: Buffer
  strings: string[]
  nodes: { type: string; name: string; id: number; size: number; edges: Edge[] }[]
  edges: Edge[]
  /** Lowest and highest index of the strings and nodes that are referred to. */
  indexes: Record<'strings' | 'nodes', [number, number]>
}

interface Edge {
  type: string
  /** The name, or the index of an element. */
  name: string | number
  to: number
}

function read(path: string): HeapFile {
  const bytes = readFileSync(path)
  const { snapshot, nodes: numbers, edges: edgeNumbers, locations, strings } = JSON.parse(bytes.toString())
  const { node_fields: nodeFields, node_types: nodeTypes, edge_types: edgeTypes } = snapshot.meta
  const [type, name, id, size, count] = ['type', 'name', 'id', 'self_size', 'edge_count'].map((field) =>
    nodeFields.indexOf(field),
  ) as [number, number, number, number, number]
  const width = nodeFields.length
  const edges: Edge[] = []
  const usedStrings: number[] = []
  const usedNodes: number[] = locations.filter((_: number, index: number) => index % 4 === 0)
  for (let at = 0; at < edgeNumbers.length; at += 3) {
    const [edgeType, nameOrIndex, to] = edgeNumbers.slice(at, at + 3)
    const word = edgeTypes[0][edgeType]
    const isIndex = word === 'element' || word === 'hidden'
    if (!isIndex) usedStrings.push(nameOrIndex)
    usedNodes.push(to)
    edges.push({ type: word, name: isIndex ? nameOrIndex : strings[nameOrIndex], to: to / width })
  }
  let firstEdge = 0
  const nodes: HeapFile['nodes'] = []
  for (let at = 0; at < numbers.length; at += width) {
    usedStrings.push(numbers[at + name])
    nodes.push({
      type: nodeTypes[type][numbers[at + type]],
      name: strings[numbers[at + name]],
      id: numbers[at + id],
      size: numbers[at + size],
      edges: edges.slice(firstEdge, firstEdge + numbers[at + count]),
    })
    firstEdge += numbers[at + count]
  }
  expect(nodes.length).toBe(snapshot.node_count)
  expect(edges.length).toBe(snapshot.edge_count)
  expect(usedNodes.filter((index) => index % width !== 0)).toEqual([])
  const range = (indexes: number[]): [number, number] => [
    indexes.reduce((a, b) => Math.min(a, b)),
    indexes.reduce((a, b) => Math.max(a, b)),
  ]
  return {
    bytes,
    strings,
    nodes,
    edges,
    indexes: { strings: range(usedStrings), nodes: range(usedNodes.map((index) => index / width)) },
  }
}

/**
 * True if the text is anywhere in the file, literally or in a form from which a reader would
 * restore it.
 */
function has({ bytes, strings }: HeapFile, text: string): boolean {
  const escapes = [...text].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`).join('')
  const upper = escapes.replace(/[0-9a-f]{4}/g, (digits) => digits.toUpperCase())
  const forms = [text, escapes, upper, Buffer.from(text, 'utf16le'), Buffer.from(text, 'utf16le').swap16()]
  return forms.some((form) => bytes.includes(form)) || strings.some((string) => string.includes(text))
}

let plain: HeapFile
let redacted: HeapFile
let paths: { plain: string; redacted: string }

beforeAll(async () => {
  const run = promisify(execFile)
  const args = [fileURLToPath(program), directory, seed, secretOf(seed, 'argument')]
  const env = { ...process.env, STILLFRAME_TEST_SECRET: secretOf(seed, 'environment variable') }
  paths = JSON.parse((await run(process.execPath, args, { env })).stdout)
  plain = read(paths.plain)
  redacted = read(paths.redacted)
}, 300_000)

/** The secrets that the fixture plants. */
const kinds = [
  ...readFileSync(fileURLToPath(program), 'utf8').matchAll(/\b(secret|greek)\('([^']+)'\)/g),
].map(([, form, kind]) => [kind, form] as [string, string])
const textOf = (kind: string, form: string): string => (form === 'greek' ? greekOf : secretOf)(seed, kind)

const names = ['class name', 'property name', 'function name', 'variable', 'private name', 'accessor']
/**
 * Secrets that are not in the heap: Buffer memory is outside V8's heap, and a function that is
 * never called has no result.
 */
const nowhere = ['buffer', 'nowhere']
const secrets: [string, string][] = [
  ...kinds.filter(([kind]) => !names.includes(kind) && !nowhere.includes(kind)),
  ['argument', 'secret'],
  ['environment variable', 'secret'],
]

test('many secrets are planted', () => {
  expect(new Set(secrets.map(([kind]) => kind)).size).toBeGreaterThan(55)
})

test.each(secrets)('not in the file: %s (%s)', (kind, form) => {
  expect(has(plain, textOf(kind, form)), 'without redact').toBe(true)
  expect(has(redacted, textOf(kind, form)), 'with redact').toBe(false)
})

test.each(nowhere)('in neither file: %s', (kind) => {
  expect([plain, redacted].map((file) => has(file, textOf(kind, 'secret')))).toEqual([false, false])
})

describe('names stay', () => {
  const nodeTypes = (name: string): Set<string> =>
    new Set(redacted.nodes.filter((node) => node.name === name).map(({ type }) => type))
  const edgeTypes = (name: string): Set<string> =>
    new Set(redacted.edges.filter((edge) => edge.name === name).map(({ type }) => type))

  test('of classes, functions and scripts', () => {
    expect(nodeTypes(secretOf(seed, 'class name'))).toContain('object')
    expect(nodeTypes(secretOf(seed, 'class name'))).toContain('closure')
    expect(nodeTypes(secretOf(seed, 'function name'))).toContain('closure')
    expect(nodeTypes(program.href)).toContain('code')
  })

  test('of properties, accessors, private fields and variables', () => {
    expect(edgeTypes(secretOf(seed, 'property name'))).toContain('property')
    expect(edgeTypes(`#${secretOf(seed, 'private name')}`)).toContain('property')
    expect(edgeTypes(`get ${secretOf(seed, 'accessor')}`)).toContain('property')
    expect(edgeTypes(secretOf(seed, 'variable'))).toContain('context')
  })

  test('which are content where they are strings', () => {
    for (const kind of names) expect(nodeTypes(secretOf(seed, kind))).not.toContain('string')
    const texts = redacted.nodes.filter(({ type }) => type === 'string' || type === 'regexp')
    expect(texts.length).toBeGreaterThan(1000)
    expect(texts.filter(({ name }) => !/^\**$/.test(name))).toEqual([])
  })

  test('of nodes that V8 names itself', () => {
    for (const [type, name] of [
      ['concatenated string', '(concatenated string)'],
      ['sliced string', '(sliced string)'],
      ['symbol', 'symbol'],
      ['number', 'heap number'],
      ['synthetic', '(GC roots)'],
      ['native', 'system / JSArrayBufferData'],
    ] as const) {
      expect(nodeTypes(name), name).toContain(type)
    }
    expect(edgeTypes('<symbol Symbol.iterator>')).toContain('property')
  })
})

describe('the rest is as without', () => {
  /** The structure below the planted object, including everything that redact must keep. */
  function shapeOf(file: HeapFile): string[] {
    const root = file.nodes.findIndex(
      ({ type, name }) => type === 'object' && name === secretOf(seed, 'class name'),
    )
    const lines: string[] = []
    const walk = (at: number, path: string, depth: number): void => {
      const { type, name, size, edges } = file.nodes[at] as HeapFile['nodes'][number]
      lines.push(`${path}: ${type}, ${size} bytes, ${name.length} characters`)
      if (depth === 0) return
      for (const edge of edges) {
        const shown = typeof edge.name === 'string' && /^[a-zA-Z]+$/.test(edge.name) ? edge.name : '…'
        if (edge.type === 'property' && shown !== '__proto__') walk(edge.to, `${path}.${shown}`, depth - 1)
        if (edge.type === 'element') walk(edge.to, `${path}[${edge.name}]`, depth - 1)
      }
    }
    walk(root, 'planted', 2)
    return lines
  }

  test('types, sizes, lengths and references', () => {
    expect(shapeOf(plain).length).toBeGreaterThan(60)
    expect(shapeOf(redacted)).toEqual(shapeOf(plain))
    expect(shapeOf(redacted).join('\n')).toMatch(/planted\.long: string, 210\d\d bytes, 1024 characters/)
  })

  test('kinds of nodes and edges', () => {
    const counts = (of: { type: string }[]): Record<string, number> => {
      const count: Record<string, number> = {}
      for (const { type } of of) count[type] = (count[type] ?? 0) + 1
      return count
    }
    for (const what of ['nodes', 'edges'] as const) {
      const [before, after] = [counts(plain[what]), counts(redacted[what])]
      expect(Object.keys(after).sort()).toEqual(Object.keys(before).sort())
      for (const [type, count] of Object.entries(before)) {
        // The process continued: the first job and its file add objects.
        expect(Math.abs((after[type] ?? 0) - count), `${what}: ${type}`).toBeLessThanOrEqual(400 + count / 50)
      }
    }
  })

  test('every index is one of a string, a node', () => {
    expect(redacted.indexes.strings[0]).toBe(0)
    expect(redacted.indexes.strings[1]).toBeLessThan(redacted.strings.length)
    expect(redacted.indexes.nodes[1]).toBeLessThan(redacted.nodes.length)
    expect(new Set(redacted.nodes.map(({ id }) => id)).size).toBe(redacted.nodes.length)
  })

  test('ids in the names of references are those of their nodes', () => {
    // DevTools recognizes references from a WeakMap by these ids.
    const form = /^\d+ \/ part of key \(.* @(\d+)\) -> value \(.* @(\d+)\) pair in WeakMap \(table @(\d+)\)$/
    for (const file of [plain, redacted]) {
      const ids = new Set(file.nodes.map(({ id }) => id))
      const pairs = file.edges.flatMap(({ name, to }) => {
        const [, key, value, table] = form.exec(`${name}`) ?? []
        return value === undefined
          ? []
          : [{ ids: [key, value, table].map(Number), target: file.nodes[to]?.id }]
      })
      expect(pairs.length).toBeGreaterThanOrEqual(4)
      expect(pairs.filter((pair) => pair.ids[1] !== pair.target)).toEqual([])
      expect(pairs.filter((pair) => !pair.ids.every((id) => ids.has(id)))).toEqual([])
    }
  })

  test('for the reader of DevTools', async () => {
    const classes = async (path: string): Promise<Map<string, { count: number; maxRet: number }>> => {
      const heap = await parse(createReadStream(path, 'utf8'))
      return new Map(Object.values(heap.aggregatesWithFilter({} as never)).map((each) => [each.name, each]))
    }
    const [before, after] = [await classes(paths.plain), await classes(paths.redacted)]
    expect(after.get(secretOf(seed, 'class name'))?.count).toBe(1)
    expect(after.get('(string)')?.count).toBeGreaterThan((before.get('(string)')?.count ?? 0) * 0.95)
    // A key of a WeakMap retains its value of 1000 objects.
    for (const file of [before, after]) expect(file.get('KeyOfWeakMap')?.maxRet).toBeGreaterThan(20_000)
    // The reader names some classes by their properties, which may be symbols. Also, the process
    // continued.
    const known = [...before].filter(([name, { count }]) => !name.startsWith('{') && count >= 10)
    expect(known.length).toBeGreaterThan(30)
    expect(known.filter(([name]) => !after.has(name))).toEqual([])
  })
})
