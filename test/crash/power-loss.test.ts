/**
 * Promise: after a power loss at any moment, the name refers to the complete older or the complete
 * new snapshot, and to the new one once `done` has resolved (T6).
 *
 * Proved by recording the calls that write and publish, and by constructing every state that a disk
 * may be left in at each of them: anything written, truncated or renamed since the last fsync of
 * the file, or of its directory, may or may not be there, in any order. Each state is opened as a
 * user would. Runs with `durable: false` show that bad states are detected.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { inspect, verify } from 'stillframe'
import { readValues } from 'stillframe/heap'
import { describe, expect, type TestContext, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { needsStrace } from '../support/needs.js'
import { callsOf, lossesOf } from '../support/power-loss.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const twoGenerations = new URL('fixtures/two-generations.mjs', import.meta.url)

const ways = [
  { way: 'fork', options: {}, disabled: [''] },
  { way: 'mprotect', options: {}, disabled: [''] },
  { way: 'userfaultfd', options: { compression: 'zstd' }, disabled: [''] },
  { way: 'fork', options: {}, disabled: ['o_tmpfile', 'exchange', 'o_tmpfile,exchange'] },
  { way: 'state', options: {}, disabled: ['', 'o_tmpfile,exchange'] },
]

for (const { way, options, disabled } of ways) {
  for (const steps of disabled) {
    const what = `${way} ${JSON.stringify(options)}${steps === '' ? '' : `, ${steps} disabled`}`
    describe(what, () => {
      test('a loss of power at any call leaves a complete file', async (context) => {
        const { states, writes, names } = await statesAfterPowerLoss(context, way, options, steps)
        for (const state of states) {
          expect(state.mayHold, state.moment).toContain(await generationIn(way, state.image))
        }
        expect(writes).toBeGreaterThanOrEqual(way === 'state' ? 2 : 6)
        expect(names).toBeGreaterThanOrEqual(2)
        expect(states.map((state) => state.mayHold)).toContainEqual([2])
      })

      test('without the syncs it would not', async (context) => {
        const asked = { ...options, durable: false }
        const { states } = await statesAfterPowerLoss(context, way, asked, steps)
        const found = new Set<unknown>()
        for (const state of states) {
          const generation = await generationIn(way, state.image)
          if (!state.mayHold.includes(generation)) found.add(generation)
        }
        expect(found).toContain('damaged')
        expect(found).toContain('none')
        expect(found).toContain(1)
      })
    })
  }
}

type Generation = 'none' | 'damaged' | 1 | 2

/** Possible contents of a disk under the snapshot's name. */
interface State {
  /** The call after which the power is lost. */
  moment: string
  /** The content under the name; undefined if the name does not exist. */
  image: Buffer | undefined
  mayHold: Generation[]
}

async function generationIn(way: string, image: Buffer | undefined): Promise<Generation> {
  if (image === undefined) return 'none'
  const path = inDirectory('image')
  writeFileSync(path, image)
  try {
    if (way !== 'state') {
      if (!(await verify(path)).ok) return 'damaged'
      return (await inspect(path)).metadata as Generation
    }
    let generation: unknown
    for await (const value of readValues(path)) generation ??= value
    // An empty file is a valid file of values, but neither generation.
    return (generation ?? 'damaged') as Generation
  } catch {
    return 'damaged'
  }
}

/** A write to a file, or an ftruncate, which sets its length. */
interface Change {
  call: 'pwrite64' | 'ftruncate'
  offset: number
  length: number
}

/** A file of the trace: its length at its last fsync, and the changes since. */
interface TracedFile {
  generation: 1 | 2
  synced: number
  unsynced: Change[]
}

/**
 * Contents of a file of which only `changes` have reached the disk; `whole` is the complete file.
 */
function imageAfter(changes: readonly Change[], synced: number, whole: Buffer): Buffer {
  const ends = changes.map(({ offset, length }) => offset + length)
  const image = Buffer.alloc(Math.max(synced, ...ends))
  whole.copy(image, 0, 0, synced)
  let now = synced
  for (const { call, offset, length } of changes) {
    if (call === 'pwrite64') whole.copy(image, offset, offset, offset + length)
    // Truncated data does not reappear when a later byte is written.
    else image.fill(0, length)
    now = call === 'pwrite64' ? Math.max(now, offset + length) : length
  }
  return image.subarray(0, now)
}

type Contents = TracedFile | undefined

async function statesAfterPowerLoss(context: TestContext, way: string, options: object, disabled: string) {
  needsStrace(context)
  const directory = inDirectory('in')
  mkdirSync(directory)
  const fixture = startFixture(
    twoGenerations,
    [`${directory}/file`, inDirectory('kept'), way, JSON.stringify(options)],
    {
      env: { STILLFRAME_DISABLE: disabled },
      wrapper: [
        ...['strace', '-f', '-y', '-qq', '-s', '0', '-o', inDirectory('trace'), '-e'],
        'trace=openat,write,pwrite64,ftruncate,fsync,linkat,renameat2,unlinkat',
      ],
    },
  )
  for (const generation of [1, 2]) {
    const outcome = await fixture.report()
    if (outcome['code'] === 'ERR_STILLFRAME_ENGINE_UNAVAILABLE') context.skip(outcome['message'])
    expect(outcome).toMatchObject({ ok: true, generation })
  }
  expect(await fixture.end).toMatchObject({ status: 0 })
  expect(readdirSync(directory)).toEqual(['file'])

  const kept = { 1: readFileSync(inDirectory('kept-1')), 2: readFileSync(inDirectory('kept-2')) }
  const states = new Map<string, State>()
  /**
   * The file behind each name in the running system, and the files that the name may refer to on
   * disk.
   */
  const names = new Map<string, Contents>()
  let onDisk = new Map<string, Set<Contents>>()
  let file: TracedFile | undefined
  let saved: 0 | 1 | 2 = 0
  let [writes, namings] = [0, 0]

  const setName = (name: string, contents: Contents) => {
    const possible = onDisk.get(name) ?? new Set([names.get(name)])
    onDisk.set(name, possible.add(contents))
    names.set(name, contents)
    namings++
  }

  for (const line of callsOf(readFileSync(inDirectory('trace'), 'utf8'))) {
    const call = /^(\w+)\((.*)\) = (-?\d+)(.*)$/.exec(line)
    if (!call || Number(call[3]) < 0) continue
    const [, syscall, args = '', result, opened = ''] = call
    const quoted = [...args.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map((match) => match[1] as string)
    const on = /^\d+<(.*?)>/.exec(args)?.[1] ?? ''
    const isFile = on.startsWith(`${directory}/`)
    if (syscall === 'openat' && opened.includes(`<${directory}/`) && /O_TMPFILE|O_EXCL/.test(args)) {
      // Determined without counting files: on a busy machine, a job of JavaScript state is retried
      // with a new file.
      file = { generation: saved === 0 ? 1 : 2, synced: 0, unsynced: [] }
      if (!args.includes('O_TMPFILE')) setName(quoted[0] as string, file)
    } else if (syscall === 'openat' && opened.includes(`<${inDirectory('kept')}-`)) {
      saved = saved === 0 ? 1 : 2
    } else if (isFile && syscall === 'pwrite64') {
      const offset = Number(/(\d+)$/.exec(args)?.[1])
      file?.unsynced.push({ call: 'pwrite64', offset, length: Number(result) })
      writes++
    } else if (isFile && syscall === 'ftruncate') {
      file?.unsynced.push({ call: 'ftruncate', offset: 0, length: Number(/(\d+)$/.exec(args)?.[1]) })
    } else if (isFile && syscall === 'write') {
      throw new Error('a file is written in a way that this test does not follow')
    } else if (isFile && syscall === 'fsync') {
      if (file) file.synced = imageAfter(file.unsynced, file.synced, kept[file.generation]).length
      if (file) file.unsynced = []
    } else if (on === directory && syscall === 'fsync') {
      onDisk = new Map()
    } else if (syscall === 'linkat' && args.includes(`<${directory}>`)) {
      setName(quoted[1] as string, names.get(quoted[0] as string) ?? file)
    } else if (syscall === 'renameat2' && on === directory) {
      const [from = '', to = ''] = quoted
      const replaced = names.get(to)
      setName(to, names.get(from))
      setName(from, args.includes('RENAME_EXCHANGE') ? replaced : undefined)
    } else if (syscall === 'unlinkat' && on === directory) {
      setName(quoted[0] as string, undefined)
    } else {
      continue
    }
    // The power is lost here.
    const mayHold: Generation[] = ([['none', 1], [1, 2], [2]] as const)[saved].slice()
    for (const contents of onDisk.get('file') ?? [names.get('file')]) {
      if (contents === undefined) {
        states.set(`none ${saved}`, { moment: line, image: undefined, mayHold })
        continue
      }
      for (const lost of lossesOf(contents.unsynced)) {
        const left = contents.unsynced.filter((change) => !lost.includes(change))
        const image = imageAfter(left, contents.synced, kept[contents.generation])
        const key = `${contents.generation} ${saved} ${image.length} ${JSON.stringify(lost)}`
        if (states.has(key)) continue
        states.set(key, { moment: line, image, mayHold })
      }
    }
  }
  expect(saved).toBe(2)
  return { states: [...states.values()], writes, names: namings }
}
