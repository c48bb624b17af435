/**
 * Promise: `verify` exits with 0 only for an intact file, and names section and offset of any
 * damage. Each test damages a copy of a small snapshot in one place and runs the command on it.
 */

import { copyFileSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { flipByte } from '../support/damage.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { writeFixture } from './fixture.js'
import { type Json, run, runJson } from './run.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'fixture.stillframe')
let sections: Json[]
beforeAll(async () => {
  await writeFixture(path)
  sections = (await runJson(['inspect', path])).json['sections'] ?? []
})

/** A fresh copy to damage. */
function copyOf(name: string): string {
  const copy = join(directory, name)
  copyFileSync(path, copy)
  return copy
}

function section(name: string): Json {
  const found = sections.find((candidate) => candidate['name'] === name)
  if (found === undefined) throw new Error(`no section ${name}`)
  return found
}

describe('verify', () => {
  it('finds a sound file sound', async () => {
    const { status, stdout, stderr } = await run(['verify', path])
    expect(status).toBe(0)
    expect(stdout.toString()).toMatch(/^✓ .*fixture\.stillframe: every byte is as it was written/)
    expect(stderr).toBe('')
    const { json } = await runJson(['verify', path])
    expect(json['ok']).toBe(true)
    expect(json['problems']).toEqual([])
  })

  it.each(['orders', 'counters'])('names section and offset of a flipped byte in %s', async (name) => {
    const copy = copyOf(`flipped-${name}`)
    const at = (section(name)['fileOffset'] ?? 0) + 5000
    flipByte(copy, at)
    const { status, json } = await runJson(['verify', copy])
    expect(status).toBe(1)
    expect(json['ok']).toBe(false)
    const problems = json['problems'] as unknown as { section: string; offset: number; reason: string }[]
    expect(problems).toHaveLength(1)
    expect(problems[0]?.section).toBe(name)
    expect(problems[0]?.offset).toBeLessThanOrEqual(at)
    expect(problems[0]?.offset).toBeGreaterThanOrEqual(section(name)['fileOffset'] ?? 0)

    const text = await run(['verify', copy])
    expect(text.status).toBe(1)
    expect(text.stdout.toString()).toContain('1 problem')
    expect(text.stdout.toString()).toContain(name)
    expect(text.stdout.toString()).toContain(`(0x${problems[0]?.offset.toString(16)})`)
  })

  it('lists damage in several places', async () => {
    const copy = copyOf('twice')
    for (const name of ['orders', 'counters']) flipByte(copy, section(name)['fileOffset'] ?? 0)
    const { status, json } = await runJson(['verify', copy])
    expect(status).toBe(1)
    const problems = json['problems'] as unknown as { section: string }[]
    expect(new Set(problems.map((problem) => problem.section))).toEqual(new Set(['orders', 'counters']))
    const first = await runJson(['verify', copy, '--max-problems', '1'])
    expect(first.status).toBe(1)
    expect(first.json['problems']).toHaveLength(1)
  })

  it.each([1, 4096, 100_000])('rejects a file that lost its last %i bytes', async (lost) => {
    const copy = copyOf(`short-${lost}`)
    truncateSync(copy, statSync(copy).size - lost)
    const { status, json } = await runJson(['verify', copy])
    expect(status).toBe(1)
    expect(json['ok']).toBe(false)
  })

  it('rejects an empty file', async () => {
    const copy = copyOf('empty')
    truncateSync(copy, 0)
    const { status, json } = await runJson(['verify', copy])
    expect(status).toBe(1)
    expect(json['ok']).toBe(false)
  })

  it('fails for a file that is not there, and says so', async () => {
    const { status, stderr } = await run(['verify', join(directory, 'absent')])
    expect(status).toBe(1)
    expect(stderr).toContain('absent')
  })
})
