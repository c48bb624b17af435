/**
 * Promise: with `stableIds`, an object has the same id in all heap snapshots, even after it has
 * moved, and V8's own files use the same ids. Without it, no id of one file appears in another. In
 * both cases an id never denotes two objects. Proved by reading the ids of objects that are
 * recognizable by their texts.
 */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

interface Ids {
  /** The ids of all nodes. */
  all: Set<number>
  /** The ids of the marked objects, by their text. */
  byText: Map<string, number>
}

function idsOf(path: string): Ids {
  const { snapshot, nodes, edges, strings } = JSON.parse(readFileSync(path, 'utf8'))
  const { node_fields: nodeFields, edge_fields: edgeFields } = snapshot.meta
  const [name, id, count] = ['name', 'id', 'edge_count'].map((field) => nodeFields.indexOf(field))
  const all = new Set<number>()
  const byText = new Map<string, number>()
  let edge = 0
  for (let node = 0; node < nodes.length; node += nodeFields.length) {
    const end = edge + nodes[node + count] * edgeFields.length
    const isMarked = strings[nodes[node + name]] === 'Marked'
    for (; edge < end; edge += edgeFields.length) {
      const text = strings[nodes[edges[edge + 2] + name]]
      if (isMarked && text?.startsWith('marked ')) byText.set(text, nodes[node + id])
    }
    all.add(nodes[node + id])
  }
  expect(all.size, 'ids of one file').toBe(snapshot.node_count)
  return { all, byText }
}

async function snapshotsOf(kinds: string): Promise<Ids[]> {
  const fixture = startFixture(new URL('fixtures/generations-of-ids.mjs', import.meta.url), [
    inDirectory(),
    kinds,
  ])
  const { files } = await fixture.report()
  expect(await fixture.end).toMatchObject({ status: 0, stderr: '' })
  return files.map(idsOf)
}

test('ids last from one file to the next with stableIds', async () => {
  const [first, second, third, ofV8] = (await snapshotsOf('stable,stable,stable,v8')) as [Ids, Ids, Ids, Ids]
  expect(first.byText.size).toBe(2000)
  expect(second.byText.size).toBe(3000)
  for (const [earlier, later] of [
    [first, second],
    [second, third],
    [third, ofV8],
  ] as const) {
    const lasting = [...later.byText].filter(([text]) => earlier.byText.has(text))
    expect(lasting.length).toBeGreaterThanOrEqual(1000)
    expect(lasting.filter(([text, id]) => earlier.byText.get(text) !== id)).toEqual([])
    const added = [...later.byText].filter(([text]) => !earlier.byText.has(text))
    expect(added.length).toBeGreaterThanOrEqual(1000)
    expect(added.filter(([, id]) => earlier.all.has(id))).toEqual([])
  }
})

test('no id is in two files without', async () => {
  const files = await snapshotsOf('fresh,fresh,stable,fresh,v8')
  const seen = new Set<number>()
  for (const [index, { all }] of files.entries()) {
    // V8's own files and those with stable ids may contain the same objects.
    if (index === 2 || index === 4) continue
    expect([...all].filter((id) => seen.has(id))).toEqual([])
    for (const id of all) seen.add(id)
  }
  for (const index of [2, 4]) expect([...(files[index] as Ids).all].filter((id) => seen.has(id))).toEqual([])
})
