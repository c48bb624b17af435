/**
 * Promise: `compact` turns a chain into one full snapshot, reports what it made, and replaces
 * nothing unless asked. Proved with real chains, by running other commands on the new file, and by
 * checking what is left after a failure.
 */

import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Region, snapshot } from '../../lib/index.js'
import { flipByte } from '../support/damage.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { type ChainFixture, metadata, writeChain } from './fixture.js'
import { run, runJson } from './run.js'

const directory = sharedTemporaryDirectory()
let chain: ChainFixture
let newest: string
/** Output directory of one test. */
let place: string
let tests = 0
beforeAll(async () => {
  chain = await writeChain(directory)
  newest = chain.paths[2]
})
beforeEach(() => {
  place = join(directory, `place-${tests++}`)
  mkdirSync(place)
})

/** The section `'table'` of a file that has none of its parents next to it. */
async function tableOf(path: string): Promise<Buffer> {
  return (await run(['extract', path, 'table'])).stdout
}

describe('compact', () => {
  it('makes one full snapshot, which needs no other file', async () => {
    const out = join(place, 'out')
    const { status, stdout, stderr } = await run(['compact', newest, '-o', out])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout.toString()).toMatch(
      /^✓ .*out: one full snapshot of 4 MiB of memory, 4\.\d+ MiB, 4\.\d+ MiB of it on disk \(.*s, .* MB\/s\)\n$/,
    )
    expect(readdirSync(place)).toEqual(['out'])
    expect(statSync(out).mode & 0o777).toBe(0o600)
    expect((await tableOf(out)).equals(chain.table)).toBe(true)
    const [before, after] = [await runJson(['inspect', newest]), await runJson(['inspect', out])]
    expect(after.json).toMatchObject({
      kind: 'full',
      layout: 'flat',
      metadata,
      frozenAt: before.json['frozenAt'],
    })
    expect(await run(['diff', newest, out])).toMatchObject({ status: 0 })
  })

  it('prints one JSON document', async () => {
    const out = join(place, 'out')
    const { status, json } = await runJson(['compact', newest, '--output', out])
    expect(status).toBe(0)
    expect(json).toMatchObject({
      file: newest,
      output: out,
      kind: 'full',
      byteLength: chain.table.length + 5000,
      fileSize: statSync(out).size,
      id: (await runJson(['inspect', out])).json['id'],
    })
  })

  it.each(['zstd', 'zstd:19', 'zstd:-5'])('compresses with --compress %s', async (compress) => {
    const out = join(place, 'out')
    const { status } = await run(['compact', newest, '-o', out, '--compress', compress])
    expect(status).toBe(0)
    expect((await runJson(['inspect', out])).json['layout']).toBe('packed')
    expect((await tableOf(out)).equals(chain.table)).toBe(true)
  })

  it('takes the file to write as an argument or as an option, and not twice', async () => {
    const out = join(place, 'out')
    expect(await run(['compact', newest, out])).toMatchObject({ status: 0 })
    expect((await tableOf(out)).equals(chain.table)).toBe(true)
    for (const args of [[newest], [newest, out, '-o', out], [newest, out, out]])
      expect(await run(['compact', ...args, '--force'])).toMatchObject({ status: 2 })
    expect(await run(['compact', place, out])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('is a directory'),
    })
  })

  it('copies a full snapshot', async () => {
    const out = join(place, 'out')
    expect(await run(['compact', chain.paths[0], '-o', out])).toMatchObject({ status: 0 })
    expect(await run(['diff', chain.paths[0], out])).toMatchObject({ status: 0 })
  })

  it('refuses to replace a file, and does with --force', async () => {
    const out = join(place, 'out')
    writeFileSync(out, 'precious')
    const refused = await run(['compact', newest, '-o', out])
    expect(refused.status).toBe(1)
    expect(refused.stderr).toMatch(/out exists; --force replaces it\n$/)
    expect(readFileSync(out, 'utf8')).toBe('precious')
    expect(await run(['compact', newest, '-o', out, '--force'])).toMatchObject({ status: 0 })
    expect((await tableOf(out)).equals(chain.table)).toBe(true)
    expect(readdirSync(place)).toEqual(['out'])
  })

  it('replaces none of the files that it is made of, with --force either', async () => {
    for (const path of chain.paths) copyFileSync(path, path.replace(directory, place))
    for (const name of readdirSync(place)) {
      const before = readFileSync(join(place, name))
      const { status, stderr } = await run(['compact', join(place, '2.sf'), '-f', '-o', join(place, name)])
      expect(status).toBe(1)
      expect(stderr).toContain('ERR_STILLFRAME_PARENT')
      expect(readFileSync(join(place, name)).equals(before)).toBe(true)
    }
    expect(readdirSync(place)).toEqual(['0.sf', '1.sf', '2.sf'])
  })

  it('leaves no file when one of them is damaged, and names it', async () => {
    for (const path of chain.paths) copyFileSync(path, path.replace(directory, place))
    flipByte(join(place, '0.sf'), 65_536 + 200 * 4096)
    const { status, stdout, stderr } = await run(['compact', join(place, '2.sf'), '-o', join(place, 'out')])
    expect(status).toBe(1)
    expect(stdout.toString()).toBe('')
    expect(stderr).toContain('ERR_STILLFRAME_CORRUPT')
    expect(stderr).toContain(join(place, '0.sf'))
    expect(readdirSync(place)).toEqual(['0.sf', '1.sf', '2.sf'])
  })

  it('says which directory is missing', async () => {
    const { status, stderr } = await run(['compact', newest, '-o', join(place, 'absent', 'out')])
    expect(status).toBe(1)
    expect(stderr).toContain(join(place, 'absent', 'out'))
    expect(stderr).toContain('ENOENT')
  })

  it('leaves no file when it is interrupted', async () => {
    const big = join(directory, 'big.sf')
    using region = Region.allocate(2 ** 28)
    new Uint8Array(region.buffer).fill(1)
    await snapshot(region, big, { durable: false }).done
    const args = ['compact', big, '-o', join(place, 'out'), '--compress', 'zstd:19']
    const { status, stdout, stderr } = await run(args, {
      meanwhile: (child) => {
        // As soon as there is a file that could be left behind; it need not have a name yet.
        let waits = 0
        const timer = setInterval(() => {
          if (!hasOpenIn(child.pid, place) && ++waits < 5000) return
          clearInterval(timer)
          child.kill('SIGINT')
        }, 2)
        child.once('exit', () => clearInterval(timer))
      },
    })
    expect({ status, stdout: stdout.toString(), stderr }).toEqual({ status: 130, stdout: '', stderr: '' })
    expect(readdirSync(place)).toEqual([])
  })
})

/** True if a process has a file in this directory open, named or not. */
function hasOpenIn(pid: number | undefined, place: string): boolean {
  return readdirSync(`/proc/${pid}/fd`).some((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(`${place}/`)
    } catch {
      return false // closed meanwhile
    }
  })
}
