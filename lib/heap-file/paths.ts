/** Names of the few nodes and edges that are shown, which are read from the file again. */

import type { Dominators } from './dominators.js'
import type { Graph } from './graph.js'
import { Malformed } from './malformed.js'
import type { Reading } from './reading.js'
import type { Source } from './source.js'

/** Description of a node. */
export interface Described {
  /** For a string its beginning; otherwise the class, or V8's name for the node. */
  name: string
  type: string
  /** The id that DevTools shows as `@id`. */
  id: number
}

/** A node on a path from the root. */
export interface Step extends Described {
  /** Edge from the previous step (`.cache`, `[12]`); absent if that does not lead here directly. */
  edge?: string
}

const maxNameBytes = 400

/** Number of steps to show at the beginning and at the end of a long path. */
const firstSteps = 3
const lastSteps = 5

export class NodeReader {
  readonly #source: Source
  readonly #reading: Reading

  constructor(source: Source, reading: Reading) {
    this.#source = source
    this.#reading = reading
  }

  async describe(node: number): Promise<Described & { shallowBytes: number }> {
    const { layout, nodeLandmarks } = this.#reading
    const { node: field } = layout
    const record = { type: 0, name: 0, id: 0, size: 0 }
    await nodeLandmarks.read(this.#source, node, node + 1, (numbers, at) => {
      record.type = numbers[at + field.type] as number
      record.name = numbers[at + field.name] as number
      record.id = numbers[at + field.id] as number
      record.size = numbers[at + field.size] as number
    })
    const type = layout.nodeTypes[record.type] ?? ''
    const name = await this.#string(record.name)
    return { name: name === '' ? `(${type})` : name, type, id: record.id, shallowBytes: record.size }
  }

  /**
   * Returns the dominators of a node, from below the root to the node itself. The middle of a long
   * path is omitted.
   */
  async pathTo(number: number, graph: Graph, { nodes, dominators }: Dominators): Promise<Step[]> {
    const last: number[] = []
    let first: number[] = []
    for (let at = number; at > 1; at = dominators[at] as number) {
      if (last.length < lastSteps) last.push(at)
      else {
        first.push(at)
        if (first.length > firstSteps) first = first.slice(1)
      }
    }
    const steps: Step[] = []
    for (const each of [...last, ...first].reverse()) {
      const node = nodes[each] as number
      const edge = await this.#edgeBetween(nodes[dominators[each] as number] as number, node, graph)
      const { name, type, id } = await this.describe(node)
      steps.push({ name, type, id, ...(edge !== undefined && { edge }) })
    }
    return steps
  }

  async #edgeBetween(from: number, to: number, graph: Graph): Promise<string | undefined> {
    const { firstEdge, targets, root } = graph
    if (from === root) return undefined
    for (let edge = firstEdge[from] as number; edge < (firstEdge[from + 1] as number); edge++) {
      if (targets[edge] === to) return await this.#edgeName(edge)
    }
    return undefined
  }

  async #edgeName(edge: number): Promise<string> {
    const { layout, edgeLandmarks } = this.#reading
    const { edge: field, edgeTypes } = layout
    let [type, name] = ['', 0]
    await edgeLandmarks.read(this.#source, edge, edge + 1, (numbers, at) => {
      type = edgeTypes[numbers[at + field.type] as number] ?? ''
      name = numbers[at + field.name] as number
    })
    return type === 'element' || type === 'hidden' ? `[${name}]` : `.${await this.#string(name)}`
  }

  async #string(index: number): Promise<string> {
    const { stringLandmarks, stringCount } = this.#reading
    if (index >= stringCount) throw new Malformed('a name is not among its strings')
    return await stringLandmarks.read(this.#source, index, maxNameBytes)
  }
}
