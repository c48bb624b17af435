/**
 * Nodes and edges of a heap in typed arrays, sized by the header: the input for finding dominators.
 */

import { BitSet, GrowingUint32 } from './growing.js'
import type { Layout } from './layout.js'
import { Malformed } from './malformed.js'

/** Stored as the target of weak edges. */
export const nowhere = -(2 ** 31)

export class Graph {
  readonly nodeCount: number
  readonly edgeCount: number
  readonly root: number
  /** Index of the first edge of each node, plus the number of edges at the end. */
  readonly firstEdge: Uint32Array
  /**
   * The node that an edge leads to; `~node` if the edge retains nothing; {@link nowhere} if it is
   * weak.
   */
  readonly targets: Int32Array
  /** Index of each node's class in the ClassTable. */
  readonly classOf: Uint32Array
  /** Size of each node itself; later its retained size. */
  readonly bytes: Float64Array
  /** Nodes with a size above 0. */
  readonly sized: BitSet
  /** Nodes that the root marks as global objects. */
  readonly globals = new GrowingUint32()
  /** Synthetic nodes below the root. One of them may be the root of all documents. */
  readonly listsOfRoot = new GrowingUint32()
  readonly pairs = new PairEdges()

  #node = 0
  #edge = 0

  /** @throws RangeError if there is too little memory. */
  constructor({ nodeCount, edgeCount, root }: Layout) {
    this.nodeCount = nodeCount
    this.edgeCount = edgeCount
    this.root = root
    this.firstEdge = new Uint32Array(nodeCount + 1)
    this.targets = new Int32Array(edgeCount)
    this.classOf = new Uint32Array(nodeCount)
    this.bytes = new Float64Array(nodeCount)
    this.sized = new BitSet(nodeCount)
  }

  /** Adds the next node of the file. @throws Malformed */
  addNode(of: number, bytes: number, edges: number): void {
    const node = this.#node++
    this.classOf[node] = of
    this.bytes[node] = bytes
    if (bytes > 0) this.sized.add(node)
    const next = (this.firstEdge[node] as number) + edges
    if (next > this.edgeCount) throw new Malformed('its nodes have more edges than its header promises')
    this.firstEdge[node + 1] = next
  }

  /** Switches from nodes to edges. @throws Malformed */
  endOfNodes(): void {
    if (this.firstEdge[this.nodeCount] !== this.edgeCount) {
      throw new Malformed('its nodes have fewer edges than its header promises')
    }
    this.#node = 0
  }

  /** Returns the node that the next edge belongs to. */
  nextSource(): number {
    while (this.#edge >= (this.firstEdge[this.#node + 1] as number)) this.#node++
    return this.#node
  }

  addEdge(target: number): void {
    this.targets[this.#edge++] = target
  }

  get nextEdge(): number {
    return this.#edge
  }
}

/**
 * Edges from a WeakMap to its values. A value is retained by its key and the map together. V8 gives
 * it an edge from each, and names both edges accordingly. As in DevTools, the map's edge is
 * ignored; otherwise neither the key nor the map would retain the value.
 */
export class PairEdges {
  readonly #edges = new GrowingUint32()
  readonly #names = new GrowingUint32()
  readonly #pairNames = new BitSet()
  #lastName = -1

  /** Adds an internal edge of an array that may be the table of a WeakMap. */
  addCandidate(edge: number, name: number): void {
    // The names of a table's edges are distinct, since each contains a number.
    if (name === this.#lastName) return
    this.#lastName = name
    this.#edges.push(edge)
    this.#names.push(name)
  }

  addPairName(name: number): void {
    this.#pairNames.add(name)
  }

  /** Calls `take` for the candidates that turned out to be such edges. */
  forEach(take: (edge: number) => void): void {
    const { values: edges } = this.#edges
    const { values: names } = this.#names
    for (let i = 0; i < edges.length; i++) {
      if (this.#pairNames.has(names[i] as number)) take(edges[i] as number)
    }
  }
}

const pairName = ' pair in WeakMap (table @'

/** True for the name of an edge of a WeakMap: `… pair in WeakMap (table @123)`. */
export function isPairName(bytes: Uint8Array, start: number, end: number): boolean {
  const closing = 0x29
  if (bytes[end - 1] !== closing) return false
  let at = end - 2
  while (at > start && (bytes[at] as number) >= 0x30 && (bytes[at] as number) <= 0x39) at--
  if (at - pairName.length + 1 <= start) return false
  for (let i = 0; i < pairName.length; i++) {
    if (bytes[at - i] !== pairName.charCodeAt(pairName.length - 1 - i)) return false
  }
  return true
}
