/**
 * Promise: `diff` reports which pages of two frames differ, and where, and its exit status tells
 * whether any do. Proved with frames whose differences are known, with and without a terminal
 * width, and with files that cannot be compared.
 */

import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { drawDensity } from '../../lib/cli/density-map.js'
import type { Io } from '../../lib/cli/io.js'
import { snapshotState } from '../../lib/heap/index.js'
import { type Source, snapshot } from '../../lib/index.js'
import { compareFrames } from '../../lib/restore/compare.js'
import { flipByte } from '../support/damage.js'
import { rejectionOf } from '../support/expect-error.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { type ChainFixture, tablePages, writeChain } from './fixture.js'
import { type Json, run, runJson } from './run.js'

const directory = sharedTemporaryDirectory()
const at = (name: string): string => join(directory, name)
let chain: ChainFixture
beforeAll(async () => {
  chain = await writeChain(directory)
})

const save = (name: string, sources: Record<string, Source>, parent?: string): Promise<unknown> =>
  snapshot(sources, at(name), { parent, durable: false }).done

function sectionOf(json: Json, name: string): Json | undefined {
  return (json['sections'] as Json[] | undefined)?.find((section) => section['name'] === name)
}

describe('frames that are the same', () => {
  it('exit status 0, and no map', async () => {
    const { status, stdout, stderr } = await run(['diff', chain.paths[2], chain.paths[2]])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout.toString()).toMatch(/table +4,194,400 +4,194,400 +0 +0 %/)
    expect(stdout.toString()).toMatch(/✓ no page differs \(pages of 4 KiB, .*s\)\n$/)
    expect(stdout.toString()).not.toMatch(/[░▒▓█]/)
    const { status: jsonStatus, json } = await runJson(['diff', chain.paths[2], chain.paths[2]])
    expect(jsonStatus).toBe(0)
    expect(json).toMatchObject({ same: true, changedPages: 0, pages: tablePages + 2 })
  })

  it('even if one of them is a delta, compressed, or names its sections in another order', async () => {
    const [main, other] = [new Uint8Array(100_000).fill(1), new Uint8Array(8192).fill(2)]
    await save('same 1', { main, other })
    await save('same 2', { other, main })
    await snapshot({ main, other }, at('same 3'), { compression: 'zstd' }).done
    await save('same 4', { main, other }, at('same 1'))
    for (const name of ['same 2', 'same 3', 'same 4'])
      expect(await run(['diff', at('same 1'), at(name)])).toMatchObject({ status: 0 })
  })
})

describe('frames that differ', () => {
  it('exit status 1, a table, and a map of each section that differs', async () => {
    const [from, , to] = chain.paths
    const { status, stdout, stderr } = await run(['diff', from, to])
    const text = stdout.toString()
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' })
    expect(text).toMatch(/ A {2}.*0\.sf: 4 MiB in 2 sections \(full, frozen at .*Z\)/)
    expect(text).toMatch(/ B {2}.*2\.sf: 4 MiB in 2 sections \(delta, frozen at .*Z\)/)
    expect(text).toMatch(/table +4,194,400 +4,194,400 +258 +25\.2 %/)
    expect(text).toMatch(/small +5,000 +5,000 +0 +0 %/)
    expect(text).toContain('258 of 1,027 pages differ (pages of 4 KiB, ')
    // 1025 pages in pieces of 2 pages; 3 pieces per character, 64 characters per line, 3 lines.
    expect(text).toContain(', 24 KiB a character')
    const map = text.split('\n').filter((line) => /^ +0x/.test(line))
    expect(map).toEqual([
      `       0x0 ▒${'·'.repeat(63)} 0x180000`,
      `  0x180000 ${'·'.repeat(21)}▓${'█'.repeat(42)} 0x300000`,
      `  0x300000 ${'·'.repeat(43)} 0x400060`,
    ])
    expect(text).toContain('· nothing')
  })

  it('in either order, and from delta to delta', async () => {
    const [full, first, second] = chain.paths
    for (const [from, to, pages] of [
      [second, full, 258],
      [full, first, 258],
      [first, second, 1],
    ] as const) {
      const { status, json } = await runJson(['diff', from, to])
      expect(status).toBe(1)
      expect(json['changedPages']).toBe(pages)
    }
  })

  it('with --json as one document, with the pages that differ of each piece', async () => {
    const { json } = await runJson(['diff', chain.paths[0], chain.paths[2]])
    expect(json).toMatchObject({
      from: { file: chain.paths[0], id: chain.ids[0], kind: 'full', byteLength: chain.table.length + 5000 },
      to: { file: chain.paths[2], id: chain.ids[2], kind: 'delta', parentId: chain.ids[1] },
      same: false,
      pageSize: 4096,
      pages: tablePages + 2,
      changedPages: 258,
    })
    const table = sectionOf(json, 'table')
    expect(table).toMatchObject({
      fromBytes: chain.table.length,
      toBytes: chain.table.length,
      changedPages: 258,
    })
    expect(table).toMatchObject({ pages: tablePages, pagesPerPiece: 2 })
    const pieces = table?.['pieces'] as unknown as number[]
    expect(pieces).toHaveLength(513)
    expect(pieces.flatMap((pages, piece) => (pages > 0 ? [piece] : []))).toEqual([
      0,
      ...Array.from({ length: 128 }, (_, index) => 256 + index),
    ])
  })

  it('by sections that only one of them has', async () => {
    await save('one 1', { main: new Uint8Array(10), gone: new Uint8Array(10).fill(1) })
    await save('one 2', { main: new Uint8Array(10), 'new zeros': new Uint8Array(8192) })
    const { status, stdout } = await run(['diff', at('one 1'), at('one 2')])
    expect(status).toBe(1)
    expect(stdout.toString()).toMatch(/gone \(only in A\) +10 +– +1 +100\.0 %/)
    expect(stdout.toString()).toMatch(/new zeros \(only in B\) +– +8,192 +0 +0 %/)
    expect(stdout.toString()).toContain('1 of 4 pages differs')
    const { json } = await runJson(['diff', at('one 1'), at('one 2')])
    expect(sectionOf(json, 'gone')).toMatchObject({ fromBytes: 10, changedPages: 1 })
    expect(sectionOf(json, 'gone')).not.toHaveProperty('toBytes')
    expect(sectionOf(json, 'new zeros')).not.toHaveProperty('fromBytes')
  })

  it('by their lengths alone', async () => {
    await save('length 1', { main: new Uint8Array(10) })
    await save('length 2', { main: new Uint8Array(5000) })
    await save('length 3', { main: new Uint8Array(5000).fill(1, 4999) })
    const { status, stdout } = await run(['diff', at('length 1'), at('length 2')])
    expect(status).toBe(1)
    expect(stdout.toString()).toContain('no page differs, but the sections differ in length or name')
    const { json } = await runJson(['diff', at('length 3'), at('length 1')])
    expect(sectionOf(json, 'main')).toMatchObject({
      fromBytes: 5000,
      toBytes: 10,
      changedPages: 1,
      pieces: [0, 1],
    })
  })

  it('and an empty section is not the same as none', async () => {
    await save('empty 1', { main: new Uint8Array(10), empty: new Uint8Array(0) })
    await save('empty 2', { main: new Uint8Array(10) })
    const { status, stdout } = await run(['diff', at('empty 1'), at('empty 2')])
    expect(status).toBe(1)
    expect(stdout.toString()).toMatch(/empty \(only in A\) +0 +– +0 +0 %/)
  })
})

describe('frames that cannot be compared', () => {
  it('a file of values is said to be one, on either side', async () => {
    await snapshotState(at('values'), (out) => out.value(1)).done
    for (const args of [
      [at('values'), chain.paths[0]],
      [chain.paths[0], at('values')],
    ]) {
      const { status, stderr } = await run(['diff', ...args])
      expect(status).toBe(1)
      expect(stderr).toBe(
        `stillframe: ${at('values')} is a file of values and has no sections. Read it with readValues()\n`,
      )
    }
  })

  it('the file is named that is missing, is none, or has damaged sums', async () => {
    writeFileSync(at('text'), 'no snapshot'.repeat(10_000))
    mkdirSync(at('damaged'))
    copyFileSync(chain.paths[0], at('damaged/0.sf'))
    // The page sums are at the end, before names, records and trailer.
    flipByte(at('damaged/0.sf'), statSync(at('damaged/0.sf')).size - 4096 - 3000)
    for (const [bad, code] of [
      [at('absent'), 'ERR_STILLFRAME_IO'],
      [at('text'), 'ERR_STILLFRAME_FORMAT'],
      [at('damaged/0.sf'), 'ERR_STILLFRAME_CORRUPT'],
    ] as const) {
      for (const args of [
        [bad, chain.paths[2]],
        [chain.paths[2], bad],
      ]) {
        const { status, json } = await runJson(['diff', ...args])
        expect(status).toBe(1)
        expect(json['error']).toMatchObject({ code, path: bad })
      }
    }
  })

  it('an aborted comparison rejects with the reason', async () => {
    const reason = new Error('enough')
    const compare = (signal: AbortSignal): Promise<unknown> =>
      compareFrames(chain.paths[0], chain.paths[2], { pieces: 1, signal })
    expect(await rejectionOf(compare(AbortSignal.abort(reason)))).toBe(reason)
    const abortion = new AbortController()
    const running = compare(abortion.signal)
    abortion.abort(reason)
    expect(await rejectionOf(running)).toBe(reason)
  })

  it('progress is told up to the end, in bytes of memory', async () => {
    const told: number[] = []
    await compareFrames(chain.paths[0], chain.paths[2], {
      pieces: 1,
      onProgress: ({ bytesDone, bytesTotal }) => told.push(bytesTotal - bytesDone),
    })
    expect(told.length).toBeGreaterThan(0)
    expect(told.at(-1)).toBeLessThanOrEqual(0)
  })
})

describe('a map', () => {
  const plain = (text: string): string => text
  const draw = (tableWidth: number, pieces: number[], byteLength = pieces.length * 8192) =>
    drawDensity({ byteLength, pieceBytes: 8192, pieces, unitsPerPiece: 2 }, {
      style: { dim: plain },
      tableWidth,
    } as unknown as Io)

  it('is as wide as the terminal lets it be, and of 64 characters in a pipe', () => {
    const pieces = Array.from({ length: 1000 }, () => 1)
    for (const width of [40, 80, 100, 120]) {
      const { lines } = draw(width, pieces)
      for (const line of lines) expect(line.length + 2).toBeLessThanOrEqual(width)
      expect(lines[0]?.length).toBeGreaterThan(width - 18)
      expect(lines.length).toBeLessThanOrEqual(4)
    }
    expect(draw(Number.POSITIVE_INFINITY, pieces).lines[0]).toBe(`     0x0 ${'▓'.repeat(64)} 0x200000`)
  })

  it('is dense where much differs', () => {
    const pieces = [0, 1, 2, 0]
    expect(draw(80, pieces).lines).toEqual(['   0x0 ·▓█· 0x8000'])
    // 4 pieces of 2 pages per character: 1, 2, 3 and 8 of 8 pages.
    const many = Array.from({ length: 1024 }, (_, piece) => {
      const [character, part] = [Math.floor(piece / 4), piece % 4]
      if (character === 3) return 2
      return part < 1 + (character % 4) ? 1 : 0
    })
    expect(draw(Number.POSITIVE_INFINITY, many).lines[0]).toMatch(/ ░▒▒█░▒▒/)
  })

  it('counts a last piece that is shorter by its own pages', () => {
    expect(draw(80, [0, 1], 8192 + 100).lines).toEqual(['   0x0 ·█ 0x2064'])
  })
})
