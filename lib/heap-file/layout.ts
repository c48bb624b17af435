/**
 * Parses the header of a heap snapshot (`"snapshot"`): the number of nodes and edges, and the
 * position of their fields. Counts that exceed what the file can hold are refused.
 */

import { Malformed, NotAHeapSnapshot } from './malformed.js'

export interface Layout {
  nodeCount: number
  edgeCount: number
  /** Index of the root among the nodes. */
  root: number
  /** Length of a node's record, and the index of each field in it. */
  node: {
    length: number
    type: number
    name: number
    id: number
    size: number
    edges: number
    detached?: number
  }
  edge: { length: number; type: number; name: number; to: number }
  nodeTypes: readonly string[]
  edgeTypes: readonly string[]
}

/** Upper bounds. V8 has 7 fields and 16 types. */
const maxFields = 64
const maxTypes = 256
/** Node indices are signed 32-bit integers. */
const maxNodes = 2 ** 31 - 2

/**
 * Parses the text of the header.
 *
 * @throws NotAHeapSnapshot, Malformed
 */
export function readLayout(text: string, fileSize: number): Layout {
  const { meta, node_count, edge_count, root_index = 0 } = objectOf(parsed(text))
  const { node_fields, node_types, edge_fields, edge_types } = objectOf(meta)
  const nodeFields = namesOf(node_fields, 'node_fields', maxFields)
  const edgeFields = namesOf(edge_fields, 'edge_fields', maxFields)
  const type = indexIn(nodeFields, 'type', 'node_fields')
  const edgeType = indexIn(edgeFields, 'type', 'edge_fields')
  const detached = nodeFields.indexOf('detachedness')
  const nodeCount = countOf(node_count, 'node_count', nodeFields.length, fileSize)
  const root = Number(root_index) / nodeFields.length
  if (nodeCount > maxNodes) throw new Malformed(`it has ${nodeCount} nodes; at most ${maxNodes} can be read`)
  if (!Number.isInteger(root) || root < 0 || root >= nodeCount) throw new Malformed('it has no root')
  return {
    nodeCount,
    edgeCount: countOf(edge_count, 'edge_count', edgeFields.length, fileSize),
    root,
    node: {
      length: nodeFields.length,
      type,
      name: indexIn(nodeFields, 'name', 'node_fields'),
      id: indexIn(nodeFields, 'id', 'node_fields'),
      size: indexIn(nodeFields, 'self_size', 'node_fields'),
      edges: indexIn(nodeFields, 'edge_count', 'node_fields'),
      ...(detached >= 0 && { detached }),
    },
    edge: {
      length: edgeFields.length,
      type: edgeType,
      name: indexIn(edgeFields, 'name_or_index', 'edge_fields'),
      to: indexIn(edgeFields, 'to_node', 'edge_fields'),
    },
    // These lists have an entry for each field; for the type field it is the list of types.
    nodeTypes: namesOf(elementOf(node_types, type), 'node_types', maxTypes),
    edgeTypes: namesOf(elementOf(edge_types, edgeType), 'edge_types', maxTypes),
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new NotAHeapSnapshot('its header is not JSON')
  }
}

function objectOf(value: unknown): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return Object.assign(Object.create(null), value) as Record<string, unknown>
  }
  throw new NotAHeapSnapshot('its header is that of another kind of file')
}

function elementOf(value: unknown, index: number): unknown {
  return Array.isArray(value) ? value[index] : undefined
}

function namesOf(value: unknown, what: string, max: number): string[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > max) {
    throw new Malformed(`its header has no list of 1 to ${max} names for ${what}`)
  }
  const names = value.map((name: unknown) => (typeof name === 'string' ? name : ''))
  if (new Set(names).size < names.length || names.includes('')) {
    throw new Malformed(`a name in ${what} of its header occurs twice, or is not a name`)
  }
  return names
}

function indexIn(names: readonly string[], name: string, what: string): number {
  const index = names.indexOf(name)
  if (index < 0) throw new Malformed(`its header has no '${name}' among ${what}`)
  return index
}

function countOf(value: unknown, what: string, fields: number, fileSize: number): number {
  const least = what === 'node_count' ? 1 : 0
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least) {
    throw new Malformed(`its header has no ${what}`)
  }
  // A number takes at least a digit and a comma.
  if (value * fields * 2 > fileSize) {
    throw new Malformed(
      `its header promises ${value} as ${what}, which a file of ${fileSize} bytes cannot hold: ` +
        'it is truncated or damaged',
    )
  }
  return value
}
