/**
 * Promise: `stillframe heap summary` and `heap diff` show what fills a heap in tables that fit a
 * terminal, or as one JSON document, and print nothing harmful. Each test runs the built command on
 * handmade files.
 */

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { likeV8, type Made, makeHeapSnapshot } from '../support/heap-file.js'
import { memoryCgroup } from '../support/memory-cgroup.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { mainPath, run, runJson } from './run.js'

const directory = sharedTemporaryDirectory()
const at = (name: string): string => join(directory, name)

/** ESC, CSI, RIGHT-TO-LEFT OVERRIDE. */
const evil = 'Evil\u001b]0;owned\u0007\u009b31m\u202edrow'
/** True for characters that no terminal may receive. */
function isRaw(character: string): boolean {
  const code = character.codePointAt(0) ?? 0
  return (code < 0x20 && character !== '\n') || (code >= 0x7f && code <= 0x9f) || code === 0x202e
}
const evilEscaped = 'Evil\\u001b]0;owned\\u0007\\u009b31m\\u202edrow'
const long = 'AbstractSingletonProxyFactoryBean'.repeat(8)

function heapOf(orders: number): Made {
  const members = Array.from({ length: orders }, () => ({ type: 'object', name: 'Order', size: 2 ** 20 }))
  return {
    nodes: [
      { type: 'synthetic', name: '', size: 0 },
      { type: 'object', name: 'global', size: 100 },
      { type: 'object', name: 'Array', size: 16 },
      { type: 'object', name: evil, size: 50 },
      { type: 'object', name: long, size: 60 },
      { type: 'string', name: `${evil} text`, size: 70 },
      ...members,
    ],
    edges: [
      { from: 0, to: 1, type: 'shortcut', name: 'global' },
      { from: 1, to: 2, type: 'property', name: 'orders' },
      { from: 1, to: 3, type: 'property', name: evil },
      { from: 3, to: 4, type: 'property', name: long },
      { from: 3, to: 5, type: 'property', name: 'text' },
      ...members.map((_, index) => ({ from: 2, to: 6 + index, type: 'element', name: index })),
    ],
  }
}

beforeAll(() => {
  writeFileSync(at('a'), likeV8(makeHeapSnapshot(heapOf(3))))
  writeFileSync(at('b'), likeV8(makeHeapSnapshot(heapOf(5))))
  const without: Made = { nodes: heapOf(0).nodes.slice(0, 1), edges: [] }
  writeFileSync(at('without'), likeV8(makeHeapSnapshot(without)))
  writeFileSync(at('empty'), '')
})

describe('a heap summary that a service has written', () => {
  const written = {
    format: 'stillframe-heap-summary',
    version: 1,
    node: '20.19.0',
    v8: '11.3',
    pid: 42,
    thread: 0,
    time: '2026-11-29T08:56:14.123Z',
    trigger: 'rss',
    redacted: false,
    heap: { usedBytes: 3 * 2 ** 20, limitBytes: 2 ** 30, externalBytes: 0 },
    contexts: { native: 1, detached: 0 },
    spaces: [{ name: 'old_space', usedBytes: 2 ** 20, totalBytes: 2 ** 21 }],
    objects: { count: 3, shallowBytes: 3 * 2 ** 20 },
    classes: [
      { name: 'Order', type: 'object', count: 2, shallowBytes: 2 ** 21 },
      { name: evil, type: 'object', count: 1, shallowBytes: 2 ** 20 },
    ],
    complete: true,
  }

  it('is shown as tables', async () => {
    writeFileSync(at('written'), JSON.stringify(written))
    const { status, stdout } = await run(['heap', 'summary', at('written')])
    expect(status).toBe(0)
    const text = stdout.toString()
    expect(text).toMatch(/Order +object +2 +2 MiB/)
    expect(text).toContain(evilEscaped.slice(0, 20))
    expect([...text].filter(isRaw)).toEqual([])
    const { stdout: one } = await run(['heap', 'summary', '--top', '1', at('written')])
    expect(one.toString()).toMatch(/\(all others\) +1/)
  })

  it('is given with --json', async () => {
    writeFileSync(at('written'), JSON.stringify(written))
    const { json } = await runJson(['heap', 'summary', at('written')])
    expect(json).toEqual(written)
  })

  it.each([
    ['cut short', JSON.stringify(written).slice(0, -100)],
    ['of a later version', JSON.stringify({ ...written, version: 2 })],
    ['with a member that is no list', JSON.stringify({ ...written, classes: 'none' })],
    ['with a member that is missing', JSON.stringify({ ...written, heap: undefined })],
  ])('is refused when it is %s', async (_how, content) => {
    writeFileSync(at('damaged'), content)
    const { status, stdout, stderr } = await run(['heap', 'summary', at('damaged')])
    expect({ status, stdout: stdout.toString() }).toEqual({ status: 1, stdout: '' })
    expect(stderr).toContain('a damaged heap summary')
  })
})

describe('heap summary', () => {
  it('tells classes, and where memory gathers', async () => {
    const { status, stdout, stderr } = await run(['heap', 'summary', at('a')])
    const text = stdout.toString()
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(text).toMatch(/heap +3 MiB in 9 nodes/)
    expect(text).toMatch(/Order +3 +3 MiB +3 MiB +100 %/)
    expect(text).toMatch(/3 MiB +100 % +global \.orders Array @5/)
    expect(text).toContain(evilEscaped)
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(200)
  })

  it('without what is retained says that it is left out', async () => {
    const { stdout } = await run(['heap', 'summary', at('a'), '--shallow', '--top', '2'])
    expect(stdout.toString()).toMatch(/Retained sizes were left out; they would take/)
    expect(stdout.toString()).not.toMatch(/shallow +retained/)
    expect(stdout.toString()).toMatch(/and 4 more; use --top to see them/)
  })

  it('is a document with --json', async () => {
    const { status, json } = await runJson(['heap', 'summary', at('a'), '--top', '1'])
    expect(status).toBe(0)
    expect(json).toMatchObject({ file: at('a'), nodes: 9, edges: 8, classCount: 6 })
    expect(json['classes']).toHaveLength(1)
    expect(json['objects']).toMatchObject([{ name: 'Array', retainedBytes: 3 * 2 ** 20 + 16 }])
  })
})

describe('in a container', () => {
  it('leaves out what is retained where it would not fit, and is not killed', (context) => {
    // 144 MB for the graph; Node itself needs 60 MB.
    const nodes = 3_000_000
    const group = memoryCgroup(context, 180 * 2 ** 20)
    const meta = {
      node_fields: ['type', 'name', 'id', 'self_size', 'edge_count'],
      node_types: [['object']],
      edge_fields: ['type', 'name_or_index', 'to_node'],
      edge_types: [['property']],
    }
    const header = JSON.stringify({ meta, node_count: nodes, edge_count: 0 })
    const records = '0,0,1,8,0,'.repeat(nodes).slice(0, -1)
    writeFileSync(at('many'), `{"snapshot":${header},"nodes":[${records}],"edges":[],"strings":["Many"]}`)
    const [shell = '', ...wrapper] = group.wrapper
    const args = [...wrapper, process.execPath, mainPath, 'heap', 'summary', at('many')]
    const { status, signal, stdout, stderr } = spawnSync(shell, args, { encoding: 'utf8' })
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' })
    expect(stdout).toMatch(
      /Retained sizes are left out: they take 137 MiB of memory, and only .* is available/,
    )
    expect(stdout).toMatch(/Many +3,000,000 +22\.9 MiB/)
  })
})

describe('heap diff', () => {
  it('tells what has grown, and counts what is new', async () => {
    const { status, stdout, stderr } = await run(['heap', 'diff', at('a'), at('b')])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout.toString()).toMatch(/2 objects of B are not in A/)
    expect(stdout.toString()).toMatch(/Order +3 +5 +\+2 +2 +5 MiB +\+2 MiB/)
  })

  it('keeps what was replaced in the short list, too', async () => {
    const other = (id: number): Made => {
      const nodes = heapOf(3).nodes.map((node, index) => ({ ...node, id: index === 6 ? id : index * 2 + 1 }))
      return {
        nodes: nodes.map((node) => (node.name === long ? { ...node, size: id } : node)),
        edges: heapOf(3).edges,
      }
    }
    writeFileSync(at('old'), likeV8(makeHeapSnapshot(other(101))))
    writeFileSync(at('new'), likeV8(makeHeapSnapshot(other(103))))
    const { stdout } = await run(['heap', 'diff', at('old'), at('new'), '--top', '1'])
    expect(stdout.toString()).toMatch(/Order +3 +3 +0 +1 +3 MiB +0 B/)
    expect(stdout.toString()).toMatch(/and 1 more with smaller changes/)
  })

  it('is a document with --json', async () => {
    const { status, json } = await runJson(['heap', 'diff', at('b'), at('a')])
    expect(status).toBe(0)
    expect(json).toMatchObject({
      before: at('b'),
      after: at('a'),
      idsAreLasting: true,
      newObjects: 0,
      changedClasses: 1,
    })
    expect(json['classes']).toMatchObject([{ name: 'Order', countDelta: -2, shallowDelta: -(2 ** 21) }])
  })
})

it.each([
  ['summary', ['heap', 'summary', at('a')]],
  ['summary without a graph', ['heap', 'summary', at('a'), '--shallow']],
  ['diff', ['heap', 'diff', at('without'), at('a')]],
])('%s: what a terminal would obey is escaped', async (_, args) => {
  for (const more of [[], ['--json']]) {
    const { status, stdout } = await run([...args, ...more])
    expect([...stdout.toString()].filter(isRaw)).toEqual([])
    expect({ status, text: stdout.toString() }).toEqual({
      status: 0,
      text: expect.stringContaining(evilEscaped),
    })
  }
})

describe('a wrong call', () => {
  it.each([
    [['heap'], 2, /needs a subcommand/],
    [['heap', '--json'], 2, /needs a subcommand/],
    [['heap', 'sumary'], 2, /Did you mean 'heap summary'/],
    [['heap', 'diff', 'a'], 2, /B is missing/],
    [['heap', 'summary', 'a', '--top', '0'], 2, /--top must be/],
    [['help', 'heap'], 2, /heap summary, heap diff/],
    [['heap', 'summary', at('empty')], 1, /not a heap snapshot.*empty.*ERR_STILLFRAME_FORMAT/],
    [['heap', 'summary', at('none')], 1, /ENOENT/],
  ] as [string[], number, RegExp][])('%j', async (args, status, message) => {
    const outcome = await run(args)
    expect({ status: outcome.status, stdout: outcome.stdout.toString() }).toEqual({ status, stdout: '' })
    expect(outcome.stderr).toMatch(message)
    expect(outcome.stderr).not.toMatch(/\n\s+at /)
  })
})
