/** Finds the growth between a heap snapshot and a later one of the same program. */

import { availableMemory } from './available-memory.js'
import type { Layout } from './layout.js'
import { Pauses } from './pauses.js'
import { classOfKey, idOfKey, type Keep, Reading } from './reading.js'
import { listClasses, reading } from './summary.js'

export interface CompareOptions {
  /**
   * Memory that may be used, in bytes. Default: the memory that the machine, or the container, has
   * left.
   */
  availableBytes?: number
  signal?: AbortSignal
  /** Counts the bytes of both files. */
  onProgress?: (bytesDone: number, bytesTotal: number) => void
}

export interface ClassChange {
  name: string
  /** Before and after. */
  count: [number, number]
  shallowBytes: [number, number]
  countDelta: number
  shallowDelta: number
  /** Number of objects that are only in the later file; absent if the ids cannot show that. */
  newObjects?: number
}

export interface HeapComparison {
  files: { fileSize: number; nodes: number; shallowBytes: number }[]
  /** True if an object has the same id in both files, so that new objects can be recognized. */
  idsAreLasting: boolean
  /** All classes whose count or bytes changed, largest growth first. */
  classes: ClassChange[]
  newObjects?: number
  /** Why new objects cannot be recognized. */
  classesOnly?: 'ids' | 'memory'
}

interface File {
  fileSize: number
  nodes: number
  shallowBytes: number
  classes: Map<string, { count: number; shallowBytes: number }>
  /** Keys of the nodes, sorted by id; undefined if there is too little memory for them. */
  keys: Float64Array | undefined
  nameOf(key: number): string
}

/**
 * Minimum share of the objects in both files that must have the same class. A lower share means
 * that the files are of two processes, in which V8 gave the same ids to different objects.
 */
const leastAgreement = 0.99
/** Minimum share of the objects in the earlier file that must also be in the later one. */
const leastCommon = 0.01

/** @throws StillframeError like summarizeHeapSnapshot(). */
export async function compareHeapSnapshots(
  before: string,
  after: string,
  options: CompareOptions = {},
): Promise<HeapComparison> {
  const pauses = new Pauses(options.signal)
  let earlier = 0
  const first = await readFile(before, options, (done, total) => {
    earlier = total
    // Assume that both files have about the same size.
    options.onProgress?.(done, 2 * total)
  })
  const second = await readFile(after, options, (done, total) => {
    options.onProgress?.(earlier + done, earlier + total)
  })
  await pauses.take()
  const newObjects = countNew(first, second)
  const classes = listChanges(first, second, newObjects)
  const files = [first, second].map(({ fileSize, nodes, shallowBytes }) => ({
    fileSize,
    nodes,
    shallowBytes,
  }))
  if (newObjects === undefined) {
    const hasKeys = first.keys !== undefined && second.keys !== undefined
    return { files, idsAreLasting: false, classes, classesOnly: hasKeys ? 'ids' : 'memory' }
  }
  let sum = 0
  for (const count of newObjects.values()) sum += count
  return { files, idsAreLasting: true, classes, newObjects: sum }
}

async function readFile(
  path: string,
  { signal, availableBytes }: CompareOptions,
  onProgress: (done: number, total: number) => void,
): Promise<File> {
  return await reading(path, async (source) => {
    let keys: Float64Array | undefined
    const decide = ({ nodeCount }: Layout): Keep => {
      const available = availableBytes ?? availableMemory()
      keys = available < nodeCount * 8 ? undefined : newArray(nodeCount)
      return { keys }
    }
    const read = await new Reading(source, { signal, onProgress, strings: 0 }, decide).run()
    keys?.sort()
    const listed = listClasses(read, read.classes.sameNames())
    return {
      fileSize: source.size,
      nodes: read.layout.nodeCount,
      shallowBytes: read.bytes,
      classes: new Map(listed.map(({ name, ...totals }) => [name, totals])),
      keys: read.idsFit ? keys : keys?.subarray(0, 0),
      nameOf: (key) => read.classes.name(classOfKey(key)),
    }
  })
}

function newArray(length: number): Float64Array | undefined {
  try {
    return new Float64Array(length)
  } catch (error) {
    if (error instanceof RangeError) return undefined
    throw error
  }
}

/**
 * Returns for each class the number of objects of `after` that are not in `before`; undefined if
 * the ids cannot show that.
 */
function countNew(before: File, after: File): Map<string, number> | undefined {
  if (before.keys === undefined || after.keys === undefined) return undefined
  const counts = new Map<string, number>()
  let [common, alike, index] = [0, 0, 0]
  for (const key of after.keys) {
    const id = idOfKey(key)
    while (index < before.keys.length && idOfKey(before.keys[index] as number) < id) index++
    const other = before.keys[index]
    const name = after.nameOf(key)
    if (other === undefined || idOfKey(other) !== id) counts.set(name, (counts.get(name) ?? 0) + 1)
    else {
      common++
      if (before.nameOf(other) === name) alike++
    }
  }
  const isTold = common >= leastCommon * before.keys.length && alike >= leastAgreement * common && common > 0
  return isTold ? counts : undefined
}

function listChanges(before: File, after: File, newObjects: Map<string, number> | undefined): ClassChange[] {
  const nothing = { count: 0, shallowBytes: 0 }
  const changes: ClassChange[] = []
  for (const name of new Set([...before.classes.keys(), ...after.classes.keys()])) {
    const was = before.classes.get(name) ?? nothing
    const is = after.classes.get(name) ?? nothing
    const fresh = newObjects?.get(name) ?? 0
    if (was.count === is.count && was.shallowBytes === is.shallowBytes && fresh === 0) continue
    changes.push({
      name,
      count: [was.count, is.count],
      shallowBytes: [was.shallowBytes, is.shallowBytes],
      countDelta: is.count - was.count,
      shallowDelta: is.shallowBytes - was.shallowBytes,
      ...(newObjects !== undefined && { newObjects: fresh }),
    })
  }
  const fresh = ({ newObjects: count = 0 }: ClassChange): number => count
  return changes.sort(
    (a, b) => b.shallowDelta - a.shallowDelta || b.countDelta - a.countDelta || fresh(b) - fresh(a),
  )
}
