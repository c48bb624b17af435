/** Summarizes the memory of a program from a heap snapshot, in human-readable tables. */

import { fromSystem, StillframeError } from '../base/errors.js'
import { checkPath } from '../base/path.js'
import { availableMemory } from './available-memory.js'
import { bytesPerEdge, bytesPerNode, DominatorFinder, type Dominators } from './dominators.js'
import { markEssentialEdges } from './essential-edges.js'
import { Graph } from './graph.js'
import type { Layout } from './layout.js'
import { Malformed, NotAHeapSnapshot } from './malformed.js'
import { type Described, NodeReader, type Step } from './paths.js'
import { Pauses } from './pauses.js'
import { Reading, type TypeTotals } from './reading.js'
import { addRetained, largestObjects, retainedByClass } from './retained.js'
import { Source } from './source.js'

export interface SummaryOptions {
  /** Length of the lists of classes, objects and strings. */
  top: number
  /** True: skip the graph, and with it all retained sizes. */
  shallow: boolean
  /**
   * Memory that may be used, in bytes. Default: the memory that the machine, or the container, has
   * left.
   */
  availableBytes?: number
  signal?: AbortSignal
  onProgress?: (bytesDone: number, bytesTotal: number) => void
}

export interface ClassSummary {
  name: string
  count: number
  shallowBytes: number
  /** Bytes of the objects and of everything that would be freed with them. */
  retainedBytes?: number
}

export interface ObjectSummary extends Described {
  shallowBytes: number
  retainedBytes: number
  /**
   * The nodes that retain it, from the root on, shortened if there are many; the object itself is
   * last.
   */
  path: Step[]
}

export interface HeapSummary {
  fileSize: number
  nodes: number
  edges: number
  strings: number
  shallowBytes: number
  /** Totals by V8's node types. */
  types: { type: string; count: number; shallowBytes: number }[]
  classCount: number
  /** The largest classes, by retained size if that is known. */
  classes: ClassSummary[]
  /** The objects that retain most; absent if retained sizes are unknown. */
  objects?: ObjectSummary[]
  largestStrings: { id: number; shallowBytes: number; text: string }[]
  /** Why retained sizes are unknown. */
  shallowOnly?: { reason: 'asked' | 'memory'; neededBytes: number; availableBytes: number }
}

/**
 * Reads the heap snapshot at `path`.
 *
 * @throws StillframeError `FORMAT` (not a heap snapshot), `CORRUPT` (damaged or truncated), `IO`.
 */
export async function summarizeHeapSnapshot(path: string, options: SummaryOptions): Promise<HeapSummary> {
  return await reading(path, async (source) => {
    const pauses = new Pauses(options.signal)
    let finder: DominatorFinder | undefined
    let shallowOnly: HeapSummary['shallowOnly']
    const decide = (layout: Layout): { graph?: Graph } => {
      const neededBytes = neededMemory(layout)
      const availableBytes = options.availableBytes ?? availableMemory()
      const reason = options.shallow ? 'asked' : neededBytes > availableBytes ? 'memory' : undefined
      shallowOnly = reason && { reason, neededBytes, availableBytes }
      if (shallowOnly !== undefined) return {}
      try {
        const graph = new Graph(layout)
        finder = new DominatorFinder(graph, pauses)
        return { graph }
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
        shallowOnly = { reason: 'memory', neededBytes, availableBytes }
        return {}
      }
    }
    const read = await new Reading(source, { ...options, strings: options.top }, decide).run()
    const sameNames = read.classes.sameNames()
    const retained = finder && (await retain(read, finder, sameNames, pauses))
    const classes = listClasses(read, sameNames, retained?.byClass)
    return {
      fileSize: source.size,
      nodes: read.layout.nodeCount,
      edges: read.layout.edgeCount,
      strings: read.stringCount,
      shallowBytes: read.bytes,
      types: listTypes(read.types),
      classCount: classes.length,
      classes: classes.slice(0, options.top),
      ...(retained && { objects: await listObjects(source, read, retained.dominators, options.top, pauses) }),
      largestStrings: await listStrings(source, read),
      ...(shallowOnly && { shallowOnly }),
    }
  })
}

/** Opens a file, and converts errors about its contents to StillframeErrors. */
export async function reading<T>(path: string, use: (source: Source) => Promise<T>): Promise<T> {
  const absolute = checkPath(path, 'read')
  let source: Source | undefined
  try {
    source = await Source.open(absolute)
    return await use(source)
  } catch (error) {
    if (error instanceof NotAHeapSnapshot) {
      const message = `${absolute}: not a heap snapshot: ${error.message}`
      throw new StillframeError('ERR_STILLFRAME_FORMAT', message, { path: absolute })
    }
    if (error instanceof Malformed) {
      const { offset } = error
      const at = offset === undefined || error.message.includes('at byte') ? '' : `, at byte ${offset}`
      const message = `${absolute}: a damaged heap snapshot: ${error.message}${at}`
      throw new StillframeError('ERR_STILLFRAME_CORRUPT', message, { path: absolute, offset })
    }
    throw fromSystem(error, absolute)
  } finally {
    await source?.close()
  }
}

/** Bytes that the graph and its dominators need, in addition to a few dozen MiB for Node itself. */
function neededMemory({ nodeCount, edgeCount }: Layout): number {
  return nodeCount * bytesPerNode + edgeCount * bytesPerEdge
}

interface Retained {
  byClass: Float64Array
  dominators: Dominators
}

async function retain(
  { classes, keep: { graph } }: Reading,
  finder: DominatorFinder,
  sameNames: Uint32Array,
  pauses: Pauses,
): Promise<Retained | undefined> {
  if (graph === undefined) return undefined
  // Chrome's documents have a root of their own.
  for (const node of graph.listsOfRoot.values) {
    if (classes.name(graph.classOf[node] as number) === '(Document DOM trees)') graph.globals.push(node)
  }
  await markEssentialEdges(graph, finder.numbers, pauses)
  finder.numbers.fill(0)
  const dominators = await finder.find()
  await addRetained(graph, dominators, pauses)
  const byClass = await retainedByClass(graph, dominators, sameNames, pauses)
  return { byClass, dominators }
}

/** Lists all classes, largest first. */
export function listClasses(
  { classes }: Reading,
  sameNames: Uint32Array,
  retained?: Float64Array,
): ClassSummary[] {
  const listed = new Map<number, ClassSummary>()
  for (const [of, first] of sameNames.entries()) {
    const { name, count, bytes } = classes.totals(of)
    if (count === 0) continue
    const known = listed.get(first)
    if (known === undefined) listed.set(first, { name, count, shallowBytes: bytes })
    else {
      known.count += count
      known.shallowBytes += bytes
    }
  }
  if (retained !== undefined) {
    for (const [first, summary] of listed) summary.retainedBytes = retained[first] as number
  }
  const size = ({ retainedBytes, shallowBytes }: ClassSummary): number => retainedBytes ?? shallowBytes
  return [...listed.values()].sort((a, b) => size(b) - size(a) || b.shallowBytes - a.shallowBytes)
}

function listTypes(types: readonly TypeTotals[]): HeapSummary['types'] {
  return types
    .filter(({ count }) => count > 0)
    .map(({ type, count, bytes }) => ({ type, count, shallowBytes: bytes }))
    .sort((a, b) => b.shallowBytes - a.shallowBytes)
}

async function listObjects(
  source: Source,
  read: Reading,
  dominators: Dominators,
  top: number,
  pauses: Pauses,
): Promise<ObjectSummary[]> {
  const { graph } = read.keep
  if (graph === undefined) return []
  const reader = new NodeReader(source, read)
  const objects: ObjectSummary[] = []
  for (const number of await largestObjects(graph, dominators, read.classes, top, pauses)) {
    const node = dominators.nodes[number] as number
    objects.push({
      ...(await reader.describe(node)),
      retainedBytes: graph.bytes[node] as number,
      path: await reader.pathTo(number, graph, dominators),
    })
    await pauses.take()
  }
  return objects
}

async function listStrings(source: Source, read: Reading): Promise<HeapSummary['largestStrings']> {
  const reader = new NodeReader(source, read)
  const strings = []
  for (const { item, bytes } of read.largestStrings.items) {
    const { id, name } = await reader.describe(item)
    strings.push({ id, shallowBytes: bytes, text: name })
  }
  return strings
}
