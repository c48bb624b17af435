/**
 * Reads a heap snapshot from its first to its last byte. It is never in memory as a whole: only
 * totals by class and type, the names of classes and, if requested, the graph are kept.
 */

import { AnyValue } from './any-value.js'
import type { Part } from './bytes.js'
import { ClassTable, maxClasses } from './class-table.js'
import { JsonObject } from './document.js'
import { type Graph, isPairName, nowhere } from './graph.js'
import { RecordLandmarks, recordsBetween, StringLandmarks } from './landmarks.js'
import { type Layout, readLayout } from './layout.js'
import { Malformed, NotAHeapSnapshot } from './malformed.js'
import { NumberArray } from './number-array.js'
import { Largest } from './retained.js'
import type { Source } from './source.js'
import { StringArray } from './string-array.js'

/** Maximum length of the header. V8's takes less than 2 KB. */
const maxHeaderBytes = 1 << 20
const stringTypes = ['string', 'concatenated string', 'sliced string']

export interface TypeTotals {
  type: string
  count: number
  bytes: number
}

/** The data to keep, decided when the header is known. */
export interface Keep {
  /** Graph to fill with the nodes and edges. */
  graph?: Graph | undefined
  /** Array to fill with the id and class of each node, combined by {@link keyOf}. */
  keys?: Float64Array | undefined
}

export interface ReadingOptions {
  signal?: AbortSignal | undefined
  onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined
  /** Number of the largest strings to keep. */
  strings: number
}

/** Combines an id and a class in one number. Nodes that are sorted by it are sorted by id. */
export function keyOf(id: number, of: number): number {
  // Room for more than maxClasses plus the groups. V8's ids have 32 bits.
  return id * 2 ** 20 + of
}

export function idOfKey(key: number): number {
  return Math.floor(key / 2 ** 20)
}

export function classOfKey(key: number): number {
  return key % 2 ** 20
}

/** All ids in a key are below this limit. */
export const maxKeyId = 2 ** 32
if (maxClasses + 300 > 2 ** 20) throw new RangeError('a key has no room for a class')

export class Reading {
  layout!: Layout
  classes!: ClassTable
  types: TypeTotals[] = []
  bytes = 0
  keep: Keep = {}
  /** False if an id has more than 32 bits, unlike V8's. */
  idsFit = true
  stringCount = 0
  readonly largestStrings: Largest
  nodeLandmarks!: RecordLandmarks
  edgeLandmarks!: RecordLandmarks
  readonly stringLandmarks = new StringLandmarks()

  readonly #source: Source
  readonly #options: ReadingOptions
  readonly #decide: (layout: Layout) => Keep
  readonly #document = new JsonObject((key, offset) => this.#open(key, offset))
  #header: AnyValue | undefined
  #strings: StringArray | undefined
  #nodes = 0
  #edges = 0

  constructor(source: Source, options: ReadingOptions, decide: (layout: Layout) => Keep) {
    this.#source = source
    this.#options = options
    this.#decide = decide
    this.largestStrings = new Largest(options.strings)
  }

  /** @throws NotAHeapSnapshot, Malformed, the signal's reason. */
  async run(): Promise<this> {
    const { signal, onProgress } = this.#options
    const end = await this.#source.readAll((bytes, offset) => {
      signal?.throwIfAborted()
      this.#document.scan(bytes, offset)
      onProgress?.(offset + bytes.length, this.#source.size)
    })
    this.#document.end(end)
    for (const key of ['snapshot', 'nodes', 'edges', 'strings']) {
      if (!this.#document.has(key)) throw new Malformed(`it has no "${key}"`)
    }
    this.#checkCounts()
    this.stringCount = this.#strings?.count ?? 0
    if (!this.classes.complete) throw new Malformed('names of its classes are not among its strings')
    return this
  }

  #open(key: string, offset: number): Part {
    if (this.#header === undefined) {
      if (key !== 'snapshot') throw new NotAHeapSnapshot('it is JSON of another kind')
      this.#header = new AnyValue(maxHeaderBytes)
      return this.#header
    }
    if (this.classes === undefined) this.#begin(this.#header.text)
    if (key === 'nodes') return this.#openNodes(offset)
    if (key !== 'edges' && key !== 'strings') return new AnyValue()
    if (!this.#document.has('nodes')) throw new Malformed(`"${key}" comes before "nodes"`, offset)
    return key === 'edges' ? this.#openEdges(offset) : this.#openStrings()
  }

  #begin(header: string): void {
    const layout = readLayout(header, this.#source.size)
    this.layout = layout
    this.classes = new ClassTable(layout)
    this.types = layout.nodeTypes.map((type) => ({ type, count: 0, bytes: 0 }))
    this.nodeLandmarks = new RecordLandmarks(layout.node.length)
    this.edgeLandmarks = new RecordLandmarks(layout.edge.length)
    this.keep = this.#decide(layout)
  }

  #openNodes(offset: number): Part {
    const { length } = this.layout.node
    this.nodeLandmarks.add(offset)
    return new NumberArray(recordsBetween * length, (numbers, count, next) => {
      this.#takeNodes(numbers, count)
      this.nodeLandmarks.add(next)
    })
  }

  #takeNodes(numbers: Float64Array, count: number): void {
    const { nodeCount, node: field, nodeTypes } = this.layout
    const { graph, keys } = this.keep
    const isString = nodeTypes.map((type) => stringTypes.includes(type))
    const maxName = this.#source.size / 3
    for (let at = 0; at < count; at += field.length) {
      if (this.#nodes === nodeCount || at + field.length > count) this.#refuseCount('nodes', nodeCount)
      const type = numbers[at + field.type] as number
      const name = numbers[at + field.name] as number
      const bytes = numbers[at + field.size] as number
      if (type >= nodeTypes.length) this.#refuseIndex('type of a node')
      // Each string takes at least two quotes and a comma.
      if (name > maxName) this.#refuseIndex('name of a node')
      const of = this.classes.classOf(
        type,
        name,
        field.detached === undefined ? 0 : (numbers[at + field.detached] as number),
      )
      this.classes.count(of, bytes)
      const totals = this.types[type] as TypeTotals
      totals.count++
      totals.bytes += bytes
      this.bytes += bytes
      if (isString[type]) this.largestStrings.add(this.#nodes, bytes)
      graph?.addNode(of, bytes, numbers[at + field.edges] as number)
      if (keys !== undefined) {
        const id = numbers[at + field.id] as number
        if (id >= maxKeyId) this.idsFit = false
        keys[this.#nodes] = keyOf(id, of)
      }
      this.#nodes++
    }
  }

  #openEdges(offset: number): Part {
    const { graph } = this.keep
    if (graph === undefined) return new AnyValue()
    if (this.#nodes !== this.layout.nodeCount) this.#refuseCount('nodes', this.layout.nodeCount)
    graph.endOfNodes()
    const { length } = this.layout.edge
    this.edgeLandmarks.add(offset)
    return new NumberArray(recordsBetween * length, (numbers, count, next) => {
      this.#takeEdges(graph, numbers, count)
      this.edgeLandmarks.add(next)
    })
  }

  #takeEdges(graph: Graph, numbers: Float64Array, count: number): void {
    const { layout, classes } = this
    const { edge: field, edgeCount, edgeTypes, nodeCount, root } = layout
    const [weak, shortcut, internal, element] = ['weak', 'shortcut', 'internal', 'element'].map((type) =>
      edgeTypes.indexOf(type),
    )
    const arrayClass = layout.nodeTypes.includes('array')
      ? classes.classOf(layout.nodeTypes.indexOf('array'), 0, 0)
      : -1
    const toNode = layout.node.length
    for (let at = 0; at < count; at += field.length) {
      if (this.#edges === edgeCount || at + field.length > count) this.#refuseCount('edges', edgeCount)
      this.#edges++
      const type = numbers[at + field.type] as number
      const target = (numbers[at + field.to] as number) / toNode
      if (type >= edgeTypes.length) this.#refuseIndex('type of an edge')
      if (target >= nodeCount || !Number.isInteger(target)) this.#refuseIndex('target of an edge')
      if (type === weak) {
        graph.addEdge(nowhere)
        continue
      }
      const source = graph.nextSource()
      if (source === root) {
        if (type === shortcut) graph.globals.push(target)
        else if (type === element && classes.isSynthetic(graph.classOf[target] as number)) {
          graph.listsOfRoot.push(target)
        }
      } else if (type === internal && graph.classOf[source] === arrayClass) {
        graph.pairs.addCandidate(graph.nextEdge, numbers[at + field.name] as number)
      }
      // Except at the root, shortcuts only repeat other edges.
      graph.addEdge(type === shortcut && source !== root ? ~target : target)
    }
  }

  #openStrings(): Part {
    const pairs = this.keep.graph?.pairs
    this.#strings = new StringArray((index, string) => {
      this.stringLandmarks.add(index, string.offset)
      this.classes.takeName(index, string)
      if (pairs !== undefined && isPairName(string.bytes, string.start, string.end)) pairs.addPairName(index)
    })
    return this.#strings
  }

  #checkCounts(): void {
    const { nodeCount, edgeCount } = this.layout
    if (this.#nodes !== nodeCount) this.#refuseCount('nodes', nodeCount)
    if (this.keep.graph !== undefined && this.#edges !== edgeCount) this.#refuseCount('edges', edgeCount)
  }

  #refuseCount(what: string, promised: number): never {
    throw new Malformed(`its header promises ${promised} ${what}, but the file has a different number`)
  }

  #refuseIndex(what: string): never {
    throw new Malformed(`the ${what} is out of range`)
  }
}
