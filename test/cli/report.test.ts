/**
 * Promise: `report` makes one page of a directory or a chain, reports damaged frames in words, as
 * JSON and by its exit status, and never leaves a partial page. Proved with intact and damaged
 * frames; test/report checks the page itself.
 */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { type ChainFixture, writeChain } from './fixture.js'
import { run, runJson } from './run.js'

const temporary = useTemporaryDirectory()
let chain: ChainFixture
beforeEach(async () => {
  mkdirSync(temporary('frames'))
  chain = await writeChain(temporary('frames'))
})
const place = (): string => temporary('frames')
const output = (): string => temporary('report.html')
const page = (): string => readFileSync(output(), 'utf8')

describe('a page', () => {
  it('is made of a directory', async () => {
    const { status, stdout, stderr } = await run(['report', place(), '-o', output()])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout.toString()).toMatch(/^✓ .*report\.html: 3 frames \(.* KiB; opens in any browser\)\n$/)
    expect(page()).toMatch(/^<!doctype html>[\s\S]*No damage found[\s\S]*<\/html>\n$/)
    for (const id of chain.ids) expect(page()).toContain(id)
  })

  it('is made of one snapshot, with all that it builds on', async () => {
    const { status, json } = await runJson(['report', chain.paths[1], '-o', output()])
    expect(status).toBe(0)
    expect(json).toMatchObject({
      place: chain.paths[1],
      output: output(),
      kind: 'chain',
      frames: 2,
      damaged: [],
    })
    expect(json['pageBytes']).toBe(readFileSync(output()).length)
    expect(page()).not.toContain(chain.ids[2])
  })

  it('does not take the place of another one, unless it is told to', async () => {
    writeFileSync(output(), 'mine')
    const { status, stderr } = await run(['report', place(), '-o', output()])
    expect(status).toBe(1)
    expect(stderr).toContain('exists')
    expect(page()).toBe('mine')
    expect((await run(['report', place(), '-o', output(), '--force'])).status).toBe(0)
    expect(page()).toContain('<!doctype html>')
  })

  it('shows as many frames as are asked for', async () => {
    const { json } = await runJson(['report', place(), '-o', output(), '--last', '1'])
    expect(json['frames']).toBe(1)
    expect(page()).toContain('Only the newest 1 of 3 frames are shown')
  })
})

describe('damage', () => {
  it('is told frame by frame: exit status 1, and a page', async () => {
    rmSync(chain.paths[0])
    const { status, stdout } = await run(['report', place(), '-o', output()])
    expect(status).toBe(1)
    expect(stdout.toString()).toMatch(/✗ 1\.sf: .*which is not in .*\n✗ 2\.sf: /)
    expect(page()).toContain('2 frames cannot be restored')
    const { json } = await runJson(['report', place(), '-o', output(), '--force'])
    expect(json['damaged']).toMatchObject([{ name: '1.sf', id: chain.ids[1] }, { name: '2.sf' }])
  })
})

describe('what cannot be reported', () => {
  it('leaves no page and nothing else', async () => {
    mkdirSync(temporary('empty'))
    writeFileSync(temporary('text'), 'no snapshot '.repeat(1000))
    for (const [bad, message] of [
      [temporary('empty'), 'has no snapshots'],
      [temporary('text'), 'ERR_STILLFRAME_FORMAT'],
      [temporary('absent'), 'cannot be read'],
    ] as const) {
      const { status, stderr } = await run(['report', bad, '-o', output()])
      expect(status).toBe(1)
      expect(stderr).toContain(message)
    }
    expect(readdirSync(temporary()).sort()).toEqual(['empty', 'frames', 'text'])
  })

  it('wrong command lines: exit status 2', async () => {
    for (const args of [[], ['-o', '-'], ['-o', output(), '--last', '0'], ['-o', output(), '--last', 'x']]) {
      const { status, stderr } = await run(['report', place(), ...args])
      expect({ status, stderr }).toMatchObject({ status: 2, stderr: expect.stringMatching(/^stillframe: /) })
    }
  })
})
