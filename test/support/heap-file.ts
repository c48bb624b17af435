/**
 * Handmade heap snapshots in V8's format, with any order of fields and any damage that a test
 * wants.
 */

export interface MadeNode {
  type: string
  name: string
  size: number
  /** Default: twice the index of the node, plus one. */
  id?: number
  detachedness?: number
}

export interface MadeEdge {
  from: number
  to: number
  type: string
  /** A number for elements, a string for other types. */
  name: string | number
}

export interface Made {
  nodes: MadeNode[]
  edges: MadeEdge[]
}

export const nodeTypes = [
  ...['hidden', 'array', 'string', 'object', 'code', 'closure', 'regexp', 'number', 'native', 'synthetic'],
  ...['concatenated string', 'sliced string', 'symbol', 'bigint', 'object shape'],
]
export const edgeTypes = ['context', 'element', 'property', 'internal', 'hidden', 'shortcut', 'weak']

export interface MakeOptions {
  nodeFields?: string[]
  edgeFields?: string[]
  /** Changes the document before it is written. */
  // biome-ignore lint/suspicious/noExplicitAny: tests put anything in
  edit?: (document: any) => void
}

/** The document of a heap snapshot. The edges of a node keep the order in which they are given. */
export function makeHeapSnapshot(made: Made, options: MakeOptions = {}): Record<string, unknown> {
  const { nodeFields = ['type', 'name', 'id', 'self_size', 'edge_count', 'trace_node_id', 'detachedness'] } =
    options
  const { edgeFields = ['type', 'name_or_index', 'to_node'] } = options
  const strings = ['<dummy>']
  const indices = new Map<string, number>()
  const indexOf = (text: string): number => {
    const index = indices.get(text) ?? strings.push(text) - 1
    indices.set(text, index)
    return index
  }
  const edgesOf = made.nodes.map((_, from) => made.edges.filter((edge) => edge.from === from))
  const nodes = made.nodes.flatMap((node, index) => {
    const values: Record<string, number> = {
      type: nodeTypes.indexOf(node.type),
      name: indexOf(node.name),
      id: node.id ?? index * 2 + 1,
      self_size: node.size,
      edge_count: edgesOf[index]?.length ?? 0,
      detachedness: node.detachedness ?? 0,
    }
    return nodeFields.map((field) => values[field] ?? 0)
  })
  const edges = edgesOf.flat().flatMap((edge) => {
    const values: Record<string, number> = {
      type: edgeTypes.indexOf(edge.type),
      name_or_index: typeof edge.name === 'number' ? edge.name : indexOf(edge.name),
      to_node: edge.to * nodeFields.length,
    }
    return edgeFields.map((field) => values[field] ?? 0)
  })
  const document = {
    snapshot: {
      meta: {
        node_fields: nodeFields,
        node_types: nodeFields.map((field) => (field === 'type' ? nodeTypes : 'number')),
        edge_fields: edgeFields,
        edge_types: edgeFields.map((field) => (field === 'type' ? edgeTypes : 'number')),
      },
      node_count: made.nodes.length,
      edge_count: made.edges.length,
      trace_function_count: 0,
    },
    nodes,
    edges,
    trace_function_infos: [],
    trace_tree: [],
    samples: [],
    locations: [],
    strings,
  }
  options.edit?.(document)
  return document
}

/**
 * The text of a document as V8 formats it on Node 20: a line break before the comma of each record.
 */
export function likeV8(document: Record<string, unknown>): string {
  return JSON.stringify(document)
    .replaceAll('],"', '],\n"')
    .replaceAll(/((?:\d+,){6}\d+),/g, '$1\n,')
}
