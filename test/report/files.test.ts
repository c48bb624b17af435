/**
 * Promise: a report of plain files shows each existing snapshot, where each differs from the one
 * before, and which cannot be read and why. Proved with frames whose changes are known, and with
 * missing and damaged files.
 */

import { cpSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { type SnapshotResult, snapshot } from '../../lib/index.js'
import type { ReportData } from '../../lib/report/data.js'
import type { ReportOptions } from '../../lib/report/examine.js'
import { reportChain, reportDirectory } from '../../lib/report/files.js'
import { measureHeat, shares } from '../../lib/report/heat.js'
import { flipByte } from '../support/damage.js'
import { rejectionOf } from '../support/expect-error.js'
import { sharedTemporaryDirectory, useTemporaryDirectory } from '../support/temporary-directory.js'

const options: ReportOptions = { last: 1000, verify: false }
const page = 4096
const frames = sharedTemporaryDirectory()
let results: SnapshotResult[]

/**
 * Five frames of 256 pages, of which the first and the fourth are full. Frame n changes the nth 16
 * pages, and the last frame grows by 256 zero pages.
 */
beforeAll(async () => {
  const table = Buffer.alloc(256 * page, 'before ')
  const still = Buffer.alloc(page, 'never ')
  results = []
  for (let n = 0; n < 5; n++) {
    if (n > 0) table.fill(n, 16 * n * page, 16 * (n + 1) * page)
    const grown = n < 4 ? table : Buffer.concat([table, Buffer.alloc(256 * page)])
    const parent = n === 0 || n === 3 ? undefined : results[n - 1]
    results.push(
      await snapshot({ table: grown, still }, join(frames, `${n}.sf`), { parent, durable: false }).done,
    )
  }
  writeFileSync(join(frames, 'notes.txt'), 'no snapshot, and longer than the header of one'.repeat(10))
  writeFileSync(join(frames, '.hidden.sf'), 'not finished')
  mkdirSync(join(frames, 'below'))
})

const temporary = useTemporaryDirectory()

/** Copies the frames to a separate directory, where a test may damage them. */
function copyOfFrames(): string {
  cpSync(frames, temporary('frames'), { recursive: true })
  return temporary('frames')
}

const nameAndDamage = ({ frames: all }: ReportData): [string, string | undefined][] =>
  all.map(({ name, damage }) => [name, damage])

describe('a directory', () => {
  it('has its snapshots in the order of their instants, and nothing else', async () => {
    const data = await reportDirectory(frames, options)
    expect(data).toMatchObject({ place: frames, kind: 'directory', checked: 'opened' })
    expect(data.frames.map(({ name }) => name)).toEqual(['0.sf', '1.sf', '2.sf', '3.sf', '4.sf'])
    expect(data.frames.map(({ kind }) => kind)).toEqual(['full', 'delta', 'delta', 'full', 'delta'])
    expect(data.frames.map(({ id }) => id)).toEqual(results.map(({ id }) => id))
    expect(data.frames[1]).toMatchObject({
      number: 2,
      parentId: results[0]?.id,
      byteLength: 257 * page,
      fileSize: 512 * statSync(join(frames, '1.sf')).blocks,
      sections: [
        { name: 'table', byteLength: 256 * page },
        { name: 'still', byteLength: page },
      ],
    })
    expect(data.frames.map(({ damage }) => damage)).toEqual(new Array(5).fill(undefined))
  })

  it('says what changed since the frame before, whether it is the parent or not', async () => {
    const data = await reportDirectory(frames, options)
    // The section has 256 pages, and later 512. Pieces have 4 pages.
    expect(data.frames.map(({ changedBytes }) => changedBytes)).toEqual([
      undefined,
      ...new Array(4).fill(16 * page),
    ])
    expect(data.heat.sections).toHaveLength(1)
    const [table] = data.heat.sections
    expect(table).toMatchObject({ name: 'table', byteLength: 512 * page, pieceBytes: 4 * page })
    expect(table?.columns[0]).toBeUndefined()
    for (const n of [1, 2, 3, 4]) {
      const hot = table?.columns[n]?.flatMap((share, piece) => (share > 0 ? [[piece, share]] : []))
      expect(hot).toEqual([0, 1, 2, 3].map((piece) => [4 * n + piece, 1]))
    }
    expect(data.remarks).toContain('Not drawn: 1 section that never changed.')
  })

  it('of which only the newest frames are asked for says how many there are', async () => {
    const data = await reportDirectory(frames, { ...options, last: 2 })
    expect(data.frames.map(({ name, number }) => [name, number])).toEqual([
      ['3.sf', 4],
      ['4.sf', 5],
    ])
    expect(data.remarks[0]).toBe('Only the newest 2 of 5 frames are shown; --last shows more.')
  })

  it('without snapshots has no frames', async () => {
    mkdirSync(temporary('empty'))
    expect((await reportDirectory(temporary('empty'), options)).frames).toEqual([])
  })

  it('is left as it was', async () => {
    const before = readdirSync(frames)
    await reportDirectory(frames, options)
    expect(readdirSync(frames)).toEqual(before)
  })

  it('tells how far it is', async () => {
    const told: [string, number, number][] = []
    await reportDirectory(frames, { ...options, onProgress: (...step) => told.push(step) })
    expect(told.filter(([step]) => step === 'opening')).toHaveLength(5)
    expect(told.at(-1)).toEqual(['comparing', 5, 5])
  })

  it('ends with the reason when it is aborted', async () => {
    const reason = new Error('enough')
    const report = reportDirectory(frames, { ...options, signal: AbortSignal.abort(reason) })
    expect(await rejectionOf(report)).toBe(reason)
  })
})

describe('a chain', () => {
  it('is a snapshot and all that it builds on', async () => {
    const data = await reportChain(join(frames, '2.sf'), options)
    expect(data.kind).toBe('chain')
    expect(data.frames.map(({ name }) => name)).toEqual(['0.sf', '1.sf', '2.sf'])
    expect((await reportChain(join(frames, '3.sf'), options)).frames.map(({ name }) => name)).toEqual([
      '3.sf',
    ])
  })

  it('is found elsewhere, too', async () => {
    const directory = copyOfFrames()
    mkdirSync(temporary('elsewhere'))
    cpSync(join(directory, '2.sf'), temporary('elsewhere/2.sf'))
    const data = await reportChain(temporary('elsewhere/2.sf'), { ...options, parents: [directory] })
    expect(nameAndDamage(data)).toEqual([
      ['0.sf', undefined],
      ['1.sf', undefined],
      ['2.sf', undefined],
    ])
  })

  it('of something else is refused', async () => {
    expect(await rejectionOf(reportChain(join(frames, 'notes.txt'), options))).toMatchObject({
      code: 'ERR_STILLFRAME_FORMAT',
    })
  })
})

describe('damage', () => {
  it('of a missing parent is told of all that build on it, and of nothing else', async () => {
    const directory = copyOfFrames()
    rmSync(join(directory, '0.sf'))
    const data = await reportDirectory(directory, options)
    expect(nameAndDamage(data)).toEqual([
      ['1.sf', expect.stringContaining(`${results[0]?.id}, which is not in`)],
      ['2.sf', expect.stringContaining(`${results[0]?.id}, which is not in`)],
      ['3.sf', undefined],
      ['4.sf', undefined],
    ])
    expect(data.frames[0]).toMatchObject({ id: results[1]?.id, parentId: results[0]?.id, kind: 'delta' })
    // 3.sf has no earlier frame with which it could be compared.
    expect(data.heat.sections[0]?.columns.map((column) => column !== undefined)).toEqual([
      false,
      false,
      false,
      true,
    ])
  })

  it('of the sums is found without reading a page, and that of a page with --verify', async () => {
    const directory = copyOfFrames()
    // The sums of the pages are before the names, the metadata and the trailer.
    flipByte(join(directory, '1.sf'), statSync(join(directory, '1.sf')).size - 4096 - 200)
    flipByte(join(directory, '3.sf'), 65536 + 10)
    const opened = await reportDirectory(directory, options)
    expect(opened.frames.map(({ damage }) => damage !== undefined)).toEqual([false, true, true, false, false])
    const verified = await reportDirectory(directory, { ...options, verify: true })
    expect(verified.checked).toBe('verified')
    expect(verified.frames.map(({ damage }) => damage !== undefined)).toEqual([false, true, true, true, true])
    expect(verified.frames[3]?.damage).toBe("section 'table': block 0 does not match its checksum")
  })

  it('of the first frame does not hide what changed between those after it', async () => {
    const paths = [1, 0, 3, 4].map((n) => ({ path: join(frames, `${n}.sf`), parents: [frames] }))
    const heat = await measureHeat([{ path: join(frames, 'notes.txt'), parents: [] }, ...paths])
    expect([...heat.failures.keys()]).toEqual([0])
    expect([...heat.changedBytes.keys()]).toEqual([2, 3, 4])
  })
})

describe('pieces of the map', () => {
  it('are those of the section at its longest', () => {
    // Pieces of 2 pages when the section had 6 pages, of 4 pages when it has 10.
    expect(shares({ pagesPerPiece: 2, pieces: [2, 0, 1] }, 4, 10)).toEqual([0.5, 0.25, 0])
    expect(shares({ pagesPerPiece: 4, pieces: [0, 4, 2] }, 4, 10)).toEqual([0, 1, 1])
    // Pieces of 3 pages overlap pieces of 4.
    expect(shares({ pagesPerPiece: 3, pieces: [0, 3] }, 4, 8)).toEqual([0.25, 0.5])
  })
})
