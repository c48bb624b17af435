/**
 * Promise: `inspect` shows what a snapshot file declares about itself, and refuses any other file.
 * Each test writes a small snapshot with the library and compares the output of the command with
 * it.
 */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { counters, metadata, orders, writeFixture } from './fixture.js'
import { run, runJson } from './run.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'fixture.stillframe')
beforeAll(() => writeFixture(path))

describe('inspect', () => {
  it('prints id, instant, sections with sizes, and metadata', async () => {
    const { json } = await runJson(['inspect', path])
    const { status, stdout, stderr } = await run(['inspect', path])
    const text = stdout.toString()
    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(text).toContain(json['id'])
    expect(text).toContain(json['frozenAt'])
    expect(text).toMatch(/orders +3,146,962 +3 MiB/)
    expect(text).toMatch(/counters +8,192 +8 KiB/)
    expect(text).toContain('"revision": 42')
  })

  it('prints one JSON document with the same facts', async () => {
    const { status, stderr, json } = await runJson(['inspect', path])
    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(json['file']).toBe(path)
    expect(json['id']).toMatch(/^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/)
    expect(Math.abs(Date.now() - Date.parse(json['frozenAt'] ?? ''))).toBeLessThan(60_000)
    expect(json['byteLength']).toBe(orders.length + counters.length)
    expect(json['metadata']).toEqual(metadata)
    const sections = json['sections'] as unknown as { name: string; byteLength: number }[]
    expect(sections.map(({ name, byteLength }) => [name, byteLength])).toEqual([
      ['orders', orders.length],
      ['counters', counters.length],
    ])
  })

  it('lets no control character of the file reach the terminal', async () => {
    const { stdout } = await run(['inspect', path])
    expect(stdout.toString()).not.toMatch(/[^\P{Cc}\n]/u)
    expect(stdout.toString()).toContain('\\u001b[31mred\\u009b')
  })

  it('refuses what is no snapshot file, with exit 1', async () => {
    const other = join(directory, 'other')
    writeFileSync(other, 'x'.repeat(100_000))
    const { status, stdout, stderr } = await run(['inspect', other])
    expect(status).toBe(1)
    expect(stdout.toString()).toBe('')
    expect(stderr).toContain('ERR_STILLFRAME_FORMAT')
    expect(stderr).not.toMatch(/\n\s+at /)
  })

  it('names a file that does not exist, with exit 1', async () => {
    const { status, stderr } = await run(['inspect', join(directory, 'absent')])
    expect(status).toBe(1)
    expect(stderr).toContain(join(directory, 'absent'))
    expect(stderr).toContain('ENOENT')
  })

  it('with --json prints a failure as one JSON document', async () => {
    const { status, json } = await runJson(['inspect', join(directory, 'absent')])
    expect(status).toBe(1)
    expect(json['error']?.['code']).toBe('ERR_STILLFRAME_IO')
    expect(json['error']?.['message']).toContain('absent')
  })
})
