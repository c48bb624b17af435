/**
 * Marks the edges that retain nothing, by the rules of DevTools: edges from WeakMaps to their
 * values, edges from a node to itself, and edges from the internals of the engine to nodes that the
 * program owns. The program owns all nodes that can be reached from the global objects. If the
 * internals counted, each of those nodes would also belong to a debugger, handle or cache that
 * refers to it.
 */

import { type Graph, nowhere } from './graph.js'
import { BitSet } from './growing.js'
import type { Pauses } from './pauses.js'

/** @param stack - scratch memory with one number for each node. */
export async function markEssentialEdges(graph: Graph, stack: Uint32Array, pauses: Pauses): Promise<void> {
  const { nodeCount, root, firstEdge, targets } = graph
  graph.pairs.forEach((edge) => {
    const target = targets[edge] as number
    if (target >= 0) targets[edge] = ~target
  })
  const owned = await ownedByProgram(graph, stack, pauses)
  const mark = (from: number, to: number): void => {
    for (let node = from; node < to; node++) {
      const isOutside = node !== root && !owned.has(node)
      for (let edge = firstEdge[node] as number; edge < (firstEdge[node + 1] as number); edge++) {
        const target = targets[edge] as number
        if (target >= 0 && (target === node || (isOutside && owned.has(target)))) targets[edge] = ~target
      }
    }
  }
  await pauses.through(0, nodeCount, mark)
}

async function ownedByProgram(
  { nodeCount, firstEdge, targets, globals }: Graph,
  stack: Uint32Array,
  pauses: Pauses,
): Promise<BitSet> {
  const owned = new BitSet(nodeCount)
  let height = 0
  const visit = (node: number): void => {
    if (owned.has(node)) return
    owned.add(node)
    stack[height++] = node
  }
  for (const node of globals.values) visit(node)
  while (height > 0) {
    for (let steps = 0; height > 0 && steps < pauses.stepsBetween; steps++) {
      const node = stack[--height] as number
      for (let edge = firstEdge[node] as number; edge < (firstEdge[node + 1] as number); edge++) {
        const target = targets[edge] as number
        if (target !== nowhere) visit(target < 0 ? ~target : target)
      }
    }
    await pauses.take()
  }
  return owned
}
