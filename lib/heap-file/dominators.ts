/**
 * Finds the dominator of each node, the closest node that all paths from the root to it pass
 * through. This is the algorithm of Lengauer and Tarjan ("A fast algorithm for finding dominators
 * in a flowgraph", 1979, with simple linking), which stays fast for any graph.
 *
 * Nodes are numbered from 1 in the order of a depth-first search. Arrays that are no longer needed
 * are reused, since there may be a hundred million nodes.
 */

import type { Graph } from './graph.js'
import type { Pauses } from './pauses.js'

/** Bytes for each node and each edge, in the graph and the dominators together. */
export const bytesPerNode = 48
export const bytesPerEdge = 8

export interface Dominators {
  /** Number of nodes that were reached; the root has number 1. */
  reached: number
  /** Node by number. All nodes are included; the root retains those after `reached`. */
  nodes: Uint32Array
  /** Number of the dominator by number. */
  dominators: Uint32Array
  /** Arrays that are no longer needed, for the caller to reuse. */
  scratch: [Uint32Array, Uint32Array]
}

export class DominatorFinder {
  readonly #graph: Graph
  readonly #pauses: Pauses
  /** Number by node; later the stack of {@link #evaluate}. */
  readonly numbers: Uint32Array
  readonly #nodes: Uint32Array
  /** Parent in the depth-first tree; for linked nodes some ancestor. */
  readonly #ancestors: Uint32Array
  /** Semidominators; during the search, the edge at which it continues. */
  readonly #semi: Uint32Array
  readonly #labels: Uint32Array
  /**
   * Lists of nodes by semidominator: the first node of each. The others are linked in
   * `#dominators`.
   */
  readonly #buckets: Uint32Array
  readonly #dominators: Uint32Array
  /** Index of the first predecessor of each node. */
  readonly #firstPredecessor: Uint32Array
  readonly #predecessors: Uint32Array
  #reached = 0

  /** @throws RangeError if there is too little memory. */
  constructor(graph: Graph, pauses: Pauses) {
    this.#graph = graph
    this.#pauses = pauses
    const length = graph.nodeCount + 1
    this.numbers = new Uint32Array(length)
    this.#nodes = new Uint32Array(length)
    this.#ancestors = new Uint32Array(length)
    this.#semi = new Uint32Array(length)
    this.#labels = new Uint32Array(length)
    this.#buckets = new Uint32Array(length)
    this.#dominators = new Uint32Array(length)
    this.#firstPredecessor = new Uint32Array(length)
    this.#predecessors = new Uint32Array(graph.edgeCount)
  }

  async find(): Promise<Dominators> {
    const { nodeCount, root } = this.#graph
    await this.#countPredecessors()
    await this.#search(root, 0)
    // Nodes that only weak edges lead to become children of the root, with all that they retain.
    for (let node = 0; node < nodeCount; node++) {
      if (this.numbers[node] !== 0 || this.#firstPredecessor[node] !== 0) continue
      await this.#search(node, 1)
    }
    await this.#collectPredecessors()
    await this.#findSemidominators()
    await this.#findDominators()
    this.#appendUnreached()
    return {
      reached: this.#reached,
      nodes: this.#nodes,
      dominators: this.#dominators,
      scratch: [this.#buckets, this.#labels],
    }
  }

  async #countPredecessors(): Promise<void> {
    const { edgeCount, targets } = this.#graph
    const counts = this.#firstPredecessor
    await this.#pauses.through(0, edgeCount, (from, to) => {
      for (let edge = from; edge < to; edge++) {
        const target = targets[edge] as number
        if (target >= 0) counts[target] = (counts[target] as number) + 1
      }
    })
  }

  /** Numbers all nodes that can be reached from `start`, whose parent has the number `parent`. */
  async #search(start: number, parent: number): Promise<void> {
    const { firstEdge, targets } = this.#graph
    const [numbers, nodes, parents, nextEdges] = [this.numbers, this.#nodes, this.#ancestors, this.#semi]
    let reached = this.#reached
    const enter = (node: number, from: number): number => {
      const number = ++reached
      numbers[node] = number
      nodes[number] = node
      parents[number] = from
      nextEdges[number] = firstEdge[node] as number
      return number
    }
    let current = enter(start, parent)
    while (current !== parent) {
      for (let steps = 0; current !== parent && steps < this.#pauses.stepsBetween; steps++) {
        const end = firstEdge[(nodes[current] as number) + 1] as number
        let edge = nextEdges[current] as number
        let target = -1
        while (edge < end) {
          target = targets[edge++] as number
          if (target >= 0 && numbers[target] === 0) break
          target = -1
        }
        nextEdges[current] = edge
        current = target < 0 ? (parents[current] as number) : enter(target, current)
      }
      // Most searches are short, and need no pause.
      if (reached - this.#reached > this.#pauses.stepsBetween / 2) await this.#pauses.take()
    }
    this.#reached = reached
  }

  /** Collects for each node the numbers of the nodes with an edge to it. */
  async #collectPredecessors(): Promise<void> {
    const { nodeCount, firstEdge, targets } = this.#graph
    const [numbers, ends, predecessors] = [this.numbers, this.#firstPredecessor, this.#predecessors]
    let sum = 0
    for (let node = 0; node < nodeCount; node++) {
      sum += ends[node] as number
      ends[node] = sum
    }
    ends[nodeCount] = sum
    // Fill each list backwards, so that `ends` finally holds the beginning of each list. That is
    // also the end of the list before it.
    await this.#pauses.through(0, nodeCount, (from, to) => {
      for (let node = from; node < to; node++) {
        const number = numbers[node] as number
        for (let edge = firstEdge[node] as number; edge < (firstEdge[node + 1] as number); edge++) {
          const target = targets[edge] as number
          if (target < 0) continue
          const end = (ends[target] as number) - 1
          ends[target] = end
          predecessors[end] = number
        }
      }
    })
  }

  async #findSemidominators(): Promise<void> {
    const [ancestors, semi, labels] = [this.#ancestors, this.#semi, this.#labels]
    const [buckets, next, dominators] = [this.#buckets, this.#dominators, this.#dominators]
    const [first, predecessors, nodes] = [this.#firstPredecessor, this.#predecessors, this.#nodes]
    const reached = this.#reached
    await this.#pauses.through(1, reached + 1, (from, to) => {
      for (let number = from; number < to; number++) {
        semi[number] = number
        labels[number] = number
      }
    })
    await this.#pauses.through(0, Math.max(0, reached - 1), (from, to) => {
      for (let number = reached - from; number > reached - to; number--) {
        const node = nodes[number] as number
        const parent = ancestors[number] as number
        let least = parent
        for (let i = first[node] as number; i < (first[node + 1] as number); i++) {
          const predecessor = predecessors[i] as number
          // 0: the predecessor was not reached.
          if (predecessor === 0) continue
          const candidate =
            predecessor <= number ? predecessor : (semi[this.#evaluate(predecessor, number + 1)] as number)
          if (candidate < least) least = candidate
        }
        semi[number] = least
        next[number] = buckets[least] as number
        buckets[least] = number
        // From here on `number` is linked to its parent.
        for (let each = buckets[parent] as number; each !== 0; ) {
          const following = next[each] as number
          const label = this.#evaluate(each, number)
          dominators[each] = (semi[label] as number) < (semi[each] as number) ? label : parent
          each = following
        }
        buckets[parent] = 0
      }
    })
  }

  /**
   * Returns the node with the least semidominator among `number` and its linked ancestors (from
   * `lowest` on). Compresses the path for later calls.
   */
  #evaluate(number: number, lowest: number): number {
    const ancestors = this.#ancestors
    const semi = this.#semi
    const labels = this.#labels
    const stack = this.numbers
    let height = 0
    let at = number
    while ((ancestors[at] as number) >= lowest) {
      stack[height++] = at
      at = ancestors[at] as number
    }
    const top = ancestors[at] as number
    let best = labels[at] as number
    while (height > 0) {
      at = stack[--height] as number
      const label = labels[at] as number
      if ((semi[best] as number) < (semi[label] as number)) labels[at] = best
      else best = label
      ancestors[at] = top
    }
    return labels[number] as number
  }

  async #findDominators(): Promise<void> {
    const [semi, dominators] = [this.#semi, this.#dominators]
    await this.#pauses.through(2, this.#reached + 1, (from, to) => {
      for (let number = from; number < to; number++) {
        const dominator = dominators[number] as number
        if (dominator !== semi[number]) dominators[number] = dominators[dominator] as number
      }
    })
    dominators[1] = 0
  }

  /**
   * Makes the root retain nodes that nothing outside leads to, such as two that refer to each
   * other.
   */
  #appendUnreached(): void {
    const { nodeCount } = this.#graph
    if (this.#reached === nodeCount) return
    // `numbers` was used as a stack: mark the reached nodes again.
    const numbers = this.numbers.fill(0)
    for (let number = 1; number <= this.#reached; number++) numbers[this.#nodes[number] as number] = 1
    let last = this.#reached
    for (let node = 0; node < nodeCount; node++) {
      if (numbers[node] !== 0) continue
      this.#nodes[++last] = node
      this.#dominators[last] = 1
    }
  }
}
