/**
 * Promise: every command that reads a snapshot reads deltas too, finds their parents in the same
 * directory or where `--parents` says, and reports in one line what is missing. Proved with a chain
 * whose files are in different directories.
 */

import { copyFileSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { flipByte } from '../support/damage.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { type ChainFixture, writeChain } from './fixture.js'
import { run, runJson } from './run.js'

const directory = sharedTemporaryDirectory()
const at = (name: string): string => join(directory, name)
let chain: ChainFixture
/** The newest frame, whose parents are in other directories. */
const orphan = at('alone/2.sf')

beforeAll(async () => {
  chain = await writeChain(directory)
  for (const name of ['alone', 'older', 'empty', 'damaged']) mkdirSync(at(name))
  copyFileSync(chain.paths[2], orphan)
  // Its grandparent is in a different directory from its parent, under another name.
  copyFileSync(chain.paths[0], at('older/full frame'))
  for (const path of chain.paths) copyFileSync(path, path.replace(directory, at('damaged')))
  flipByte(at('damaged/0.sf'), 65_536 + 200 * 4096)
})

describe('inspect', () => {
  it('shows of a delta that it is one, and the id of its parent', async () => {
    const { status, stdout } = await run(['inspect', chain.paths[2]])
    expect(status).toBe(0)
    expect(stdout.toString()).toMatch(/kind +delta/)
    expect(stdout.toString()).toMatch(new RegExp(`parent +${chain.ids[1]}`))
    const { json } = await runJson(['inspect', chain.paths[2]])
    expect(json).toMatchObject({ kind: 'delta', id: chain.ids[2], parentId: chain.ids[1] })
  })

  it('shows no parent of a full snapshot', async () => {
    const { stdout } = await run(['inspect', chain.paths[0]])
    expect(stdout.toString()).not.toMatch(/parent|delta/)
    const { json } = await runJson(['inspect', chain.paths[0]])
    expect(json['kind']).toBe('full')
    expect(json).not.toHaveProperty('parentId')
  })
})

const out = at('out')
const commands: string[][] = [
  ['inspect', orphan],
  ['verify', orphan],
  ['extract', orphan, 'table', '-f', '-o', out],
  ['compact', orphan, '-f', '-o', out],
  ['diff', orphan, orphan],
]

describe.each(commands)('%s %s', (...command) => {
  it('says in one line which snapshot is missing, and what to do', async () => {
    for (const parents of [[], ['--parents', at('empty')], ['--parents', at('nowhere')]]) {
      const { status, stdout, stderr } = await run([...command, ...parents])
      expect(status).toBe(1)
      expect(stdout.toString()).toBe('')
      expect(stderr.trimEnd().split('\n')).toHaveLength(1)
      expect(stderr).toContain(chain.ids[1])
      expect(stderr).toContain(parents[1] ?? at('alone'))
      expect(stderr).toMatch(/Put it there, or name its place in .*parents.* \(ERR_STILLFRAME_PARENT\)$/m)
    }
    const { json } = await runJson(command)
    expect(json['error']).toMatchObject({ code: 'ERR_STILLFRAME_PARENT', path: orphan })
  })

  it('finds parents in directories and files that it is given, one or several', async () => {
    const [first, second] = chain.paths
    for (const places of [[directory], [`${directory}/`], [first, second], [at('older'), second]]) {
      const parents = places.flatMap((place) => ['--parents', place])
      const { status, stderr } = await run([...command, ...parents])
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    }
    expect(await run([...command, '--parents', second])).toMatchObject({ status: 1 })
  })

  it('takes no place without a name', async () => {
    for (const wrong of [['--parents'], ['--parents', ''], ['--parents', '--json']]) {
      const { status, stderr } = await run([...command, ...wrong])
      expect(status).toBe(2)
      expect(stderr).toContain("'--parents' needs a value (PLACE)")
    }
  })
})

it('extract gives the bytes of the newest frame', async () => {
  const { status, stdout } = await run(['extract', orphan, 'table', '--parents', directory])
  expect(status).toBe(0)
  expect(stdout.equals(chain.table)).toBe(true)
  await run(['extract', chain.paths[2], 'table', '-f', '-o', out])
  expect(readFileSync(out).equals(chain.table)).toBe(true)
})

it('verify finds damage in a parent, and names that file', async () => {
  const { status, json } = await runJson(['verify', at('damaged/2.sf')])
  expect(status).toBe(1)
  const problems = json['problems'] as unknown as { section: string; reason: string }[]
  expect(problems).toMatchObject([{ section: 'table' }])
  expect(problems[0]?.reason).toContain(at('damaged/0.sf'))
  expect(await run(['verify', chain.paths[2]])).toMatchObject({ status: 0 })
})

it('a file that has taken the place of the parent is refused', async () => {
  mkdirSync(at('replaced'))
  for (const path of chain.paths) copyFileSync(path, path.replace(directory, at('replaced')))
  renameSync(at('replaced/0.sf'), at('replaced/1.sf'))
  const { status, stderr } = await run(['inspect', at('replaced/2.sf')])
  expect(status).toBe(1)
  expect(stderr).toContain('ERR_STILLFRAME_PARENT')
})
