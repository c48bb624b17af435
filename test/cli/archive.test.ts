/**
 * Promise: the archive commands show the frames, restore any point in time, prune exactly the
 * frames that no rule keeps, and find damage, without disturbing a service that is capturing.
 * Proved with an archive whose memory is known at each frame.
 */

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { type Frame, openArchive } from '../../lib/archive/index.js'
import { flipByte } from '../support/damage.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { type Json, run, runJson } from './run.js'

const temporary = useTemporaryDirectory()
const place = (): string => temporary('archive')
const output = (): string => temporary('out')
/** Memory of the frames: frame n, counted from 1, is filled with n. */
const memory = Buffer.alloc(20 * 4096)
let frames: Frame[]

beforeEach(async () => {
  const archive = await openArchive(place())
  for (let n = 1; n <= 4; n++) {
    memory.fill(n)
    await archive.capture({ main: memory }, n === 2 ? { state: (out) => out.value({ n }) } : {}).done
  }
  frames = []
  for await (const frame of archive.frames()) frames.push(frame)
  await archive.close()
})

const damage = (number: number): void => flipByte(join(place(), `000000000${number}.sf`), 65536 + 5)
const numbersOf = (json: Json, key: string): number[] =>
  (json[key] as unknown as Json[]).map(({ number }) => Number(number))

describe('frames', () => {
  it('lists them, for people and as JSON', async () => {
    const { status, stdout, stderr } = await run(['frames', place()])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const text = stdout.toString()
    for (const { number, frozenAt, kind } of frames)
      expect(text).toMatch(new RegExp(`^ +${number}  ${frozenAt.toISOString()}  ${kind} +80 KiB`, 'm'))
    expect(text).toMatch(/^4 frames, .* on disk$/m)
    const { json } = await runJson(['frames', place()])
    expect(json['frames']).toMatchObject([
      { number: 1, kind: 'full', id: frames[0]?.id, hasState: false },
      { number: 2, kind: 'delta', hasState: true },
      { number: 3 },
      { number: 4 },
    ])
  })

  it('by the rules of its service, which other commands leave as they are', async () => {
    await (await openArchive(place(), { retention: { last: 2 } })).close()
    expect((await run(['compact', place()])).status).toBe(0)
    expect((await run(['prune', place(), '--keep-last', '3'])).status).toBe(0)
    const { stdout } = await run(['frames', place()])
    expect(stdout.toString()).toMatch(/^ +2 .* not pruned yet$/m)
    expect(stdout.toString()).toMatch(/^ +3 .* last 2$/m)
    expect(numbersOf((await runJson(['prune', place()])).json, 'kept')).toEqual([3, 4])
    await (await openArchive(place())).close()
    expect((await run(['frames', place()])).stdout.toString()).not.toContain('last 2')
  })

  it('of a range of time, in UTC', async () => {
    const from = frames[1]?.frozenAt.toISOString() ?? ''
    const to = frames[2]?.frozenAt.toISOString().replace('T', ' ').replace('Z', '') ?? ''
    expect(
      numbersOf((await runJson(['frames', place(), '--from', from, '--to', to])).json, 'frames'),
    ).toEqual([2, 3])
  })

  it('and which rules keep them', async () => {
    const { stdout } = await run(['frames', place(), '--keep-last', '2'])
    expect(stdout.toString()).toMatch(/^ +2 .*not pruned yet$/m)
    expect(stdout.toString()).toMatch(/^ +4 .*newest, last 2$/m)
  })
})

describe('restore', () => {
  it('writes a section of the newest frame', async () => {
    const { status, stdout } = await run(['restore', place(), 'main', '-o', output()])
    expect(status).toBe(0)
    expect(stdout.toString()).toMatch(/✓ .*out: 80 KiB of section 'main' as of .*Z \(frame 4\)/)
    expect(readFileSync(output())).toEqual(memory)
  })

  it('of any time, id and number', async () => {
    for (const [n, ...wish] of [
      [1, '--at', frames[0]?.frozenAt.toISOString() ?? ''],
      [2, '--id', frames[1]?.id ?? ''],
      [3, '--number', '3'],
      [4, '--at', 'latest'],
    ] as const) {
      const { stdout } = await run(['restore', place(), 'main', ...wish])
      expect(stdout).toEqual(Buffer.alloc(memory.length, n))
    }
  })

  it('never takes a younger frame: exit status 1, and no file', async () => {
    const before = new Date((frames[0]?.frozenAt.getTime() ?? 0) - 1000).toISOString()
    const { status, stderr } = await run(['restore', place(), 'main', '--at', before, '-o', output()])
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('ERR_STILLFRAME_GAP') })
    expect(existsSync(output())).toBe(false)
  })

  it('passes over damage, and says so', async () => {
    damage(4)
    const { status, stderr } = await run(['restore', place(), 'main', '-o', output()])
    expect(status).toBe(0)
    expect(stderr).toMatch(/^1 frame skipped:\n {2}frame 4: /)
    expect(readFileSync(output())).toEqual(Buffer.alloc(memory.length, 3))
    const { json } = await runJson(['restore', place(), 'main', '-o', output(), '-f'])
    expect(json).toMatchObject({ byteLength: memory.length, frame: { number: 3 }, skipped: [{ number: 4 }] })
  })

  it('fails where damage is not to be passed over', async () => {
    damage(4)
    for (const wish of [
      ['--on-damage', 'fail'],
      ['--number', '4'],
      ['--id', frames[3]?.id ?? ''],
    ])
      expect(await run(['restore', place(), 'main', ...wish, '-o', output()])).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('ERR_STILLFRAME_CORRUPT'),
      })
    expect(existsSync(output())).toBe(false)
  })

  it('of what is not there says what there is', async () => {
    const { stderr } = await run(['restore', place(), 'other', '-o', output()])
    expect(stderr).toContain("has no section 'other'; it has 'main'")
    expect((await run(['restore', place(), 'main', '-n', '9', '-o', output()])).stderr).toContain(
      'has no frame 9',
    )
  })
})

describe('prune', () => {
  it('with --dry-run says what would go, and leaves all', async () => {
    const before = readdirSync(place())
    const { status, json } = await runJson(['prune', place(), '--keep-last', '1', '--dry-run'])
    expect(status).toBe(0)
    expect(json).toMatchObject({ dryRun: true, freedBytes: expect.any(Number) })
    expect([numbersOf(json, 'kept'), numbersOf(json, 'givenUp')]).toEqual([[4], [1, 2, 3]])
    expect(readdirSync(place())).toEqual(before)
    const { stdout } = await run(['prune', place(), '--keep-last', '1', '--dry-run'])
    expect(stdout.toString()).toMatch(/3 frames of 4 would be pruned/)
  })

  it('gives up what no rule keeps, and nothing else', async () => {
    const { status, json } = await runJson(['prune', place(), '--keep-last', '2', '--keep-within', '1s'])
    expect(status).toBe(0)
    const kept = numbersOf(json, 'kept')
    expect(kept).toContain(4)
    expect(kept).toContain(3)
    expect(numbersOf((await runJson(['frames', place()])).json, 'frames')).toEqual(kept)
    await run(['prune', place(), '--keep-last', '1'])
    expect(numbersOf((await runJson(['frames', place()])).json, 'frames')).toEqual([4])
    expect((await run(['restore', place(), 'main'])).stdout).toEqual(memory)
  })

  it('without a rule is a wrong command line, and so is a rule that is none', async () => {
    for (const rules of [[], ['--keep-last', '0'], ['--keep-daily', 'x'], ['--keep-within', '3 days']])
      expect(await run(['prune', place(), ...rules])).toMatchObject({ status: 2 })
    expect(numbersOf((await runJson(['frames', place()])).json, 'frames')).toEqual([1, 2, 3, 4])
  })
})

describe('compact', () => {
  it('makes the newest frame of an archive a full one, which stays the same frame', async () => {
    const { status, json } = await runJson(['compact', place()])
    expect(status).toBe(0)
    expect(json).toMatchObject({ frame: { number: 4, kind: 'full', id: frames[3]?.id } })
    expect((await run(['restore', place(), 'main'])).stdout).toEqual(memory)
    expect((await run(['compact', place()])).stdout.toString()).toContain('nothing to compact')
  })

  it('takes no options of a file', async () => {
    for (const option of [['-o', output()], ['--force'], ['--compress', 'zstd']])
      expect(await run(['compact', place(), ...option])).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('is a directory'),
      })
  })
})

describe('verify', () => {
  it('reads every byte of every frame', async () => {
    const { status, stdout } = await run(['verify', place()])
    expect(status).toBe(0)
    expect(stdout.toString()).toMatch(/^✓ .*archive: every byte of 4 frames is as it was written/)
  })

  it('names the damaged ones: exit status 1', async () => {
    damage(3)
    const { status, stdout } = await run(['verify', place()])
    expect(status).toBe(1)
    expect(stdout.toString()).toMatch(/✗ .*: 2 of 4 frames cannot be restored/)
    const { json } = await runJson(['verify', place()])
    expect((json['frames'] as unknown as Json[]).map(({ ok }) => ok)).toEqual([true, true, false, false])
  })
})

describe('report', () => {
  it('is of all frames, with their pauses, and the rules that keep them', async () => {
    const { status, json } = await runJson([
      'report',
      place(),
      '-o',
      output(),
      '--keep-last',
      '2',
      '--verify',
    ])
    expect(status).toBe(0)
    expect(json).toMatchObject({ kind: 'archive', frames: 4, damaged: [], remarks: [] })
    const page = readFileSync(output(), 'utf8')
    expect(page).toContain('Pause of the service')
    expect(page).toContain('last 2')
    for (const { id } of frames) expect(page).toContain(id)
  })

  it('names the damaged ones: exit status 1', async () => {
    damage(2)
    writeFileSync(join(place(), '0000000003.json'), 'no manifest')
    const { status, json } = await runJson(['report', place(), '-o', output(), '--verify'])
    expect(status).toBe(1)
    expect(json['damaged']).toMatchObject([{ number: 2 }, { number: 3 }, { number: 4 }])
  })
})

describe('while a service captures', () => {
  it('looking is possible, and changing is not', async () => {
    await using service = await openArchive(place())
    for (const args of [
      ['frames', place()],
      ['verify', place()],
      ['restore', place(), 'main', '-o', output()],
      ['report', place(), '-o', temporary('page.html')],
      ['prune', place(), '--keep-last', '1', '--dry-run'],
    ])
      expect(await run(args)).toMatchObject({ status: 0, stderr: '' })
    for (const args of [
      ['prune', place(), '--keep-last', '1'],
      ['compact', place()],
    ])
      expect(await run(args)).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('is open for writing'),
      })
    memory.fill(5)
    expect((await service.capture({ main: memory }).done).kind).toBe('delta')
  })
})

describe('what is no archive', () => {
  it('is not made one', async () => {
    mkdirSync(temporary('empty'))
    rmSync(place(), { recursive: true })
    for (const bad of [temporary('empty'), place()]) {
      for (const args of [
        ['frames', bad],
        ['prune', bad, '--keep-last', '1'],
        ['prune', bad, '--keep-last', '1', '--dry-run'],
        ['restore', bad, 'main', '-o', output()],
      ])
        expect(await run(args)).toMatchObject({ status: 1, stderr: expect.stringMatching(/^stillframe: /) })
    }
    expect(await run(['compact', temporary('empty')])).toMatchObject({ status: 1 })
    expect(await run(['verify', temporary('empty')])).toMatchObject({ status: 1 })
    expect(readdirSync(temporary('empty'))).toEqual([])
    expect(existsSync(place())).toBe(false)
  })
})
