/**
 * Promise: `extract` outputs exactly the bytes of one section, after verifying them, and never
 * leaves a partial file under any name. Each test compares the bytes that arrive in a file or a
 * pipe with the saved memory.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import {
  copyFileSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Region, snapshot } from '../../lib/index.js'
import { flipByte } from '../support/damage.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { counters, orders, writeFixture } from './fixture.js'
import { type Json, mainPath, run, runJson } from './run.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'fixture.stillframe')
/** Output directory of one test; extract made every file in it. */
let place: string
let tests = 0
beforeAll(() => writeFixture(path))
beforeEach(() => {
  place = join(directory, `place-${tests++}`)
  mkdirSync(place)
})

/** A copy of the snapshot with a flipped byte in the middle of the section `'orders'`. */
async function damagedCopy(): Promise<string> {
  const copy = join(directory, 'damaged.stillframe')
  copyFileSync(path, copy)
  const sections: Json[] = (await runJson(['inspect', path])).json['sections'] ?? []
  flipByte(copy, (sections.find(({ name }) => name === 'orders')?.['fileOffset'] ?? 0) + 2 ** 21)
  return copy
}

describe('extract to a file', () => {
  it.each([
    ['orders', orders],
    ['counters', counters],
  ])('writes the bytes of %s, readable by the owner only', async (name, contents) => {
    const out = join(place, 'out')
    const { status, stderr, stdout } = await run(['extract', path, name, '-o', out])
    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(stdout.toString()).toContain(out)
    expect(readFileSync(out).equals(contents)).toBe(true)
    expect(statSync(out).mode & 0o777).toBe(0o600)
    expect(readdirSync(place)).toEqual(['out'])
  })

  it('prints one JSON document', async () => {
    const out = join(place, 'out')
    const { status, json } = await runJson(['extract', path, 'orders', '--output', out])
    expect(status).toBe(0)
    expect(json).toMatchObject({ file: path, section: 'orders', output: out, byteLength: orders.length })
  })

  it('writes an empty section as an empty file', async () => {
    const empty = join(place, 'empty.stillframe')
    using region = Region.allocate(0)
    await snapshot({ nothing: region }, empty).done
    const { status } = await run(['extract', empty, 'nothing', '-o', join(place, 'out')])
    expect(status).toBe(0)
    expect(statSync(join(place, 'out')).size).toBe(0)
  })

  it('refuses to replace a file, and does with --force', async () => {
    const out = join(place, 'out')
    writeFileSync(out, 'precious')
    const refused = await run(['extract', path, 'counters', '-o', out])
    expect(refused.status).toBe(1)
    expect(refused.stderr).toContain('--force')
    expect(readFileSync(out, 'utf8')).toBe('precious')
    const forced = await run(['extract', path, 'counters', '-o', out, '--force'])
    expect(forced.status).toBe(0)
    expect(readFileSync(out).equals(counters)).toBe(true)
    expect(readdirSync(place)).toEqual(['out'])
  })

  it('replaces nothing but regular files, whatever --force says', async () => {
    const victim = join(place, 'victim')
    writeFileSync(victim, 'precious')
    symlinkSync(victim, join(place, 'link'))
    mkdirSync(join(place, 'directory'))
    execFileSync('mkfifo', [join(place, 'pipe')])
    for (const name of ['link', 'directory', 'pipe']) {
      const { status, stderr } = await run(['extract', path, 'counters', '-f', '-o', join(place, name)])
      expect(status).toBe(1)
      expect(stderr).toMatch(/not a regular file|is a directory/)
    }
    expect(lstatSync(join(place, 'link')).isSymbolicLink()).toBe(true)
    expect(readFileSync(victim, 'utf8')).toBe('precious')
    expect(readdirSync(place).sort()).toEqual(['directory', 'link', 'pipe', 'victim'])
  })

  it('leaves no file behind when the section is damaged, and names the damage', async () => {
    const { status, stdout, stderr } = await run([
      'extract',
      await damagedCopy(),
      'orders',
      '-o',
      join(place, 'out'),
    ])
    expect(status).toBe(1)
    expect(stdout.toString()).toBe('')
    expect(stderr).toContain('ERR_STILLFRAME_CORRUPT')
    expect(stderr).toContain('orders')
    expect(readdirSync(place)).toEqual([])
  })

  it('keeps the old file when the section is damaged', async () => {
    const out = join(place, 'out')
    writeFileSync(out, 'precious')
    const { status } = await run(['extract', await damagedCopy(), 'orders', '-f', '-o', out])
    expect(status).toBe(1)
    expect(readFileSync(out, 'utf8')).toBe('precious')
    expect(readdirSync(place)).toEqual(['out'])
  })

  it('leaves no file behind when the disk is full', () => {
    // A limit on file sizes simulates a full disk: the write is refused halfway.
    const out = join(place, 'out')
    const command = `trap '' XFSZ; ulimit -f 2048; exec "$0" "$@"`
    const args = ['-c', command, process.execPath, mainPath, 'extract', path, 'orders', '-o', out]
    const { status, stderr } = spawnSync('bash', args, { encoding: 'utf8' })
    expect(status).toBe(1)
    expect(stderr).toContain('EFBIG')
    expect(readdirSync(place)).toEqual([])
  })

  it('says which directory is missing', async () => {
    const { status, stderr } = await run(['extract', path, 'orders', '-o', join(place, 'absent', 'out')])
    expect(status).toBe(1)
    expect(stderr).toContain('ENOENT')
    expect(stderr).not.toMatch(/\n\s+at /)
  })

  it('lists the sections there are when there is none of that name', async () => {
    const { status, stderr } = await run(['extract', path, 'order', '-o', join(place, 'out')])
    expect(status).toBe(1)
    expect(stderr).toContain("'orders', 'counters'")
    expect(readdirSync(place)).toEqual([])
  })
})

describe('an interrupted extraction', () => {
  const bigPath = join(directory, 'big.stillframe')
  beforeAll(async () => {
    using region = Region.allocate(2 ** 28)
    new Uint8Array(region.buffer).fill(1)
    await snapshot({ big: region }, bigPath).done
  })

  it.each([1, 2])('leaves no file behind (%i times Ctrl-C)', async (times) => {
    const { status, stdout, stderr } = await run(['extract', bigPath, 'big', '-o', join(place, 'out')], {
      meanwhile: (child) => {
        // As soon as there is a file that could be left behind.
        const timer = setInterval(() => {
          if (readdirSync(place).length === 0) return
          clearInterval(timer)
          for (let time = 0; time < times; time++) child.kill('SIGINT')
        }, 2)
        child.once('exit', () => clearInterval(timer))
      },
    })
    expect({ status, stdout: stdout.toString(), stderr }).toEqual({ status: 130, stdout: '', stderr: '' })
    expect(readdirSync(place)).toEqual([])
  })
})

describe('extract to stdout', () => {
  it.each([[[]], [['-o', '-']]])('writes the bytes and nothing else into a pipe (%j)', async (options) => {
    const { status, stdout, stderr } = await run(['extract', path, 'orders', ...options])
    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(stdout.equals(orders)).toBe(true)
  })

  it('writes the bytes into a file that the shell has opened', () => {
    const out = join(place, 'out')
    execFileSync('bash', [
      '-c',
      '"$0" "$1" extract "$2" orders > "$3"',
      process.execPath,
      mainPath,
      path,
      out,
    ])
    expect(readFileSync(out).equals(orders)).toBe(true)
  })

  it('reports a full disk behind stdout', () => {
    const args = ['-c', '"$0" "$1" extract "$2" orders > /dev/full', process.execPath, mainPath, path]
    const { status, stderr } = spawnSync('bash', args, { encoding: 'utf8' })
    expect(status).toBe(1)
    expect(stderr).toContain('ENOSPC')
  })

  it('writes no byte of a damaged section', async () => {
    const { status, stdout } = await run(['extract', await damagedCopy(), 'orders'])
    expect(status).toBe(1)
    expect(stdout).toHaveLength(0)
  })

  it('refuses --json and --force, which have no meaning there', async () => {
    for (const option of ['--json', '--force']) {
      const { status, stdout, stderr } = await run(['extract', path, 'orders', option])
      expect(status).toBe(2)
      expect(stdout).toHaveLength(0)
      expect(stderr).toContain('-o OUT')
    }
  })
})

describe('a compressed file', () => {
  it('is extracted as any other', async () => {
    const packed = join(place, 'packed.stillframe')
    await snapshot({ orders, counters }, packed, { compression: 'zstd' }).done
    const out = join(place, 'out')
    expect(await run(['extract', packed, 'orders', '-o', out])).toMatchObject({ status: 0 })
    expect(readFileSync(out).equals(orders)).toBe(true)
    const { status, stdout } = await run(['extract', packed, 'counters'])
    expect(status).toBe(0)
    expect(stdout.equals(counters)).toBe(true)
  })
})
