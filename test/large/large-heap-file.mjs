#!/usr/bin/env node
// Reads a heap snapshot whose nodes, edges and strings are all beyond 4 GiB, and checks the
// reported sizes, names and paths.
//
//   npm run test:large:heap-file        takes 5 GB of disk in the temporary directory, and a minute

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { compareHeapSnapshots } from '../../dist/heap-file/compare.js'
import { summarizeHeapSnapshot } from '../../dist/heap-file/summary.js'

const members = 1_000_000
const paddingBytes = 2 ** 32 + 12_345
const directory = mkdtempSync(join(tmpdir(), 'stillframe-large-'))
const path = join(directory, 'large.heapsnapshot')

try {
  await write()
  const begunMs = performance.now()
  const summary = await summarizeHeapSnapshot(path, { top: 5, shallow: false })
  const seconds = (performance.now() - begunMs) / 1000
  assert.ok(summary.fileSize > 2 ** 32)
  assert.deepEqual(summary.classes.slice(0, 3), [
    { name: 'global', count: 1, shallowBytes: 8, retainedBytes: 8 + 16 + 24 * members },
    { name: 'List', count: 1, shallowBytes: 16, retainedBytes: 16 + 24 * members },
    { name: 'Member', count: members, shallowBytes: 24 * members, retainedBytes: 24 * members },
  ])
  const [list] = summary.objects ?? []
  assert.deepEqual(
    list?.path.map(({ name, edge }) => [edge, name]),
    [
      [undefined, 'global'],
      ['.list', 'List'],
    ],
  )
  const comparison = await compareHeapSnapshots(path, path)
  assert.deepEqual([comparison.idsAreLasting, comparison.newObjects, comparison.classes], [true, 0, []])
  const speed = (summary.fileSize / 1e6 / seconds).toFixed(0)
  console.log(`${summary.fileSize} bytes, ${summary.nodes} nodes: ${seconds.toFixed(1)} s, ${speed} MB/s`)
} finally {
  rmSync(directory, { recursive: true, force: true })
}

/**
 * A global object that holds a list of a million members, preceded by a field that readers do not
 * know.
 */
async function write() {
  const file = await open(path, 'w')
  const meta = {
    node_fields: ['type', 'name', 'id', 'self_size', 'edge_count'],
    node_types: [['object', 'synthetic'], 'string', 'number', 'number', 'number'],
    edge_fields: ['type', 'name_or_index', 'to_node'],
    edge_types: [['property', 'element', 'shortcut'], 'string_or_number', 'node'],
  }
  const header = { meta, node_count: members + 3, edge_count: members + 2 }
  await file.write(`{"snapshot":${JSON.stringify(header)},\n"padding":"`)
  const chunk = Buffer.alloc(2 ** 24, 'padding ')
  for (let left = paddingBytes; left > 0; left -= chunk.length) {
    await file.write(chunk, 0, Math.min(left, chunk.length))
  }
  await file.write('",\n"nodes":[1,0,1,0,1\n,0,1,3,8,1\n,0,2,5,16,')
  await file.write(String(members))
  await writeMany(file, (index) => `\n,0,3,${2 * index + 7},24,0`)
  await file.write('],\n"edges":[2,1,5\n,0,4,10')
  await writeMany(file, (index) => `\n,1,${index},${(index + 3) * 5}`)
  await file.write('],\n"strings":["","global","List","Member","list"]}\n')
  await file.close()
}

/**
 * @param {import('node:fs/promises').FileHandle} file
 * @param {(index: number) => string} textOf
 */
async function writeMany(file, textOf) {
  for (let index = 0; index < members; index += 10_000) {
    await file.write(Array.from({ length: 10_000 }, (_, i) => textOf(index + i)).join(''))
  }
}
