/** Computes the retained size of each node and class, and finds the objects that retain most. */

import type { ClassTable } from './class-table.js'
import type { Dominators } from './dominators.js'
import type { Graph } from './graph.js'
import { BitSet } from './growing.js'
import type { Pauses } from './pauses.js'

/** Adds to the bytes of each node the bytes of all nodes that it dominates. */
export async function addRetained(
  { bytes, nodeCount }: Graph,
  { nodes, dominators }: Dominators,
  pauses: Pauses,
): Promise<void> {
  // A node always has a higher number than its dominator.
  await pauses.through(0, nodeCount - 1, (from, to) => {
    for (let number = nodeCount - from; number > nodeCount - to; number--) {
      const dominator = nodes[dominators[number] as number] as number
      bytes[dominator] = (bytes[dominator] as number) + (bytes[nodes[number] as number] as number)
    }
  })
}

/**
 * Returns the retained size of each class: the sum over its objects, except those that are retained
 * by another object of the class and thus already included. As in DevTools, nodes of size 0 belong
 * to no class.
 */
export async function retainedByClass(
  { bytes, sized, classOf, nodeCount }: Graph,
  { nodes, dominators, scratch }: Dominators,
  sameNames: Uint32Array,
  pauses: Pauses,
): Promise<Float64Array> {
  const retained = new Float64Array(sameNames.length)
  /** Number of nodes of each class on the path from the root to the current node. */
  const open = new Uint32Array(sameNames.length)
  const [firstChild, nextSibling] = scratch
  firstChild.fill(0)
  nextSibling[1] = 0
  await pauses.through(0, nodeCount - 1, (from, to) => {
    for (let number = nodeCount - from; number > nodeCount - to; number--) {
      const dominator = dominators[number] as number
      nextSibling[number] = firstChild[dominator] as number
      firstChild[dominator] = number
    }
  })
  let number = 1
  let isEntered = false
  while (number !== 0) {
    for (let steps = 0; number !== 0 && steps < pauses.stepsBetween; steps++) {
      const node = nodes[number] as number
      const of = sameNames[classOf[node] as number] as number
      const counts = sized.has(node)
      if (!isEntered) {
        if (counts && open[of] === 0) retained[of] = (retained[of] as number) + (bytes[node] as number)
        if (counts) open[of] = (open[of] as number) + 1
        const child = firstChild[number] as number
        if (child !== 0) {
          number = child
          continue
        }
      }
      if (counts) open[of] = (open[of] as number) - 1
      const sibling = nextSibling[number] as number
      isEntered = sibling === 0
      number = isEntered ? (dominators[number] as number) : sibling
    }
    await pauses.take()
  }
  return retained
}

/**
 * An object that retains more than this share through one other object only leads to that object.
 */
const wrapperShare = 0.9

/**
 * Returns the numbers of the objects where memory accumulates, largest first. Excluded are objects
 * that only lead to another one, roots, and inner parts of other objects.
 */
export async function largestObjects(
  { bytes, classOf, nodeCount }: Graph,
  { nodes, dominators }: Dominators,
  classes: ClassTable,
  top: number,
  pauses: Pauses,
): Promise<number[]> {
  const isInner = Array.from({ length: classes.length }, (_, of) =>
    /^\((array|system)\)$/.test(classes.name(of)),
  )
  const wrappers = new BitSet(nodeCount + 1)
  await pauses.through(2, nodeCount + 1, (from, to) => {
    for (let number = from; number < to; number++) {
      const node = nodes[number] as number
      const dominator = dominators[number] as number
      const share = (bytes[node] as number) / (bytes[nodes[dominator] as number] as number)
      if (share > wrapperShare && !isInner[classOf[node] as number]) wrappers.add(dominator)
    }
  })
  const largest = new Largest(top)
  await pauses.through(2, nodeCount + 1, (from, to) => {
    for (let number = from; number < to; number++) {
      const node = nodes[number] as number
      const of = classOf[node] as number
      if (!largest.wouldTake(bytes[node] as number) || wrappers.has(number) || classes.isSynthetic(of))
        continue
      const dominator = classOf[nodes[dominators[number] as number] as number] as number
      if (isInner[of] && !classes.isSynthetic(dominator)) continue
      largest.add(number, bytes[node] as number)
    }
  })
  return largest.items.map(({ item }) => item)
}

/** Keeps the largest few of many items. */
export class Largest {
  readonly items: { item: number; bytes: number }[] = []
  readonly #top: number

  constructor(top: number) {
    this.#top = top
  }

  wouldTake(bytes: number): boolean {
    if (bytes === 0 || this.#top === 0) return false
    return this.items.length < this.#top || bytes > (this.items.at(-1)?.bytes ?? 0)
  }

  add(item: number, bytes: number): void {
    if (!this.wouldTake(bytes)) return
    const at = this.items.findIndex((other) => other.bytes < bytes)
    this.items.splice(at < 0 ? this.items.length : at, 0, { item, bytes })
    if (this.items.length > this.#top) this.items.pop()
  }
}
