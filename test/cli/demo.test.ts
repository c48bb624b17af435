/**
 * Promise: the demo's figures are measured and its files verified with every engine that this
 * machine has, and it leaves nothing behind except the page of its archive. The tests run it with
 * little memory in a directory of their own.
 */

import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { capabilities, inspect } from '../../lib/index.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { type Json, run, runJson } from './run.js'

const directory = sharedTemporaryDirectory()
const small = ['demo', '--size', '32MiB', '--dir', directory]
const available = Object.entries(capabilities().engines).flatMap(([name, probe]) =>
  probe.available ? [name] : [],
)

/** Checks and removes the page of the archive, which is all that remains. */
function removePage(path: string): void {
  expect(readFileSync(path, 'utf8')).toMatch(
    /^<!doctype html>[\s\S]*Every byte of every frame was read and checked/,
  )
  expect(path).toBe(join(directory, 'stillframe-demo.html'))
  rmSync(path)
}

describe('demo', () => {
  it('proves the file of every available engine, and that of the naive way', async () => {
    const { status, stderr, json } = await runJson(small)
    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(json).toMatchObject({ ok: true, byteLength: 2 ** 25, kept: false })
    const ways: Json[] = json['ways'] ?? []
    expect(ways.map(({ engine }) => engine)).toEqual([undefined, ...available])
    for (const way of ways) {
      expect(way['verified']).toBe(true)
      expect(way['pauseMs']).toBeGreaterThan(0)
      expect(way['durationMs']).toBeGreaterThanOrEqual(way['pauseMs'] ?? Number.NaN)
      expect(way['firstReadMs']).toBeGreaterThan(0)
      // The pause is itself a delay of the event loop, so the longest delay cannot be shorter.
      expect(way['service']?.['eventLoopMaxMs']).toBeGreaterThanOrEqual(way['pauseMs'] ?? Number.NaN)
      const reopenings = (way['comparisons'] as unknown as Json[]).map(({ reopening }) => reopening)
      expect(reopenings).toEqual(way['engine'] === undefined ? ['read'] : ['map', 'copy'])
    }
    expect(json['archive']).toMatchObject({ frames: 20, byteLength: 20 * 36 * 2 ** 20 })
    expect(json['archive']?.['fileSize']).toBeLessThan(json['archive']?.['byteLength'] ?? 0)
    removePage(String(json['archive']?.['page']))
    expect(readdirSync(directory)).toEqual([])
  })

  it('prints a table for people, without colours or a progress bar into a pipe', async () => {
    // Without --dir, temporary files are in the temporary directory, and the page is in the user's
    // current directory.
    const { status, stdout, stderr } = await run(
      ['demo', '--size', '32MiB', '--engine', available[0] ?? ''],
      { cwd: directory },
    )
    expect(status).toBe(0)
    expect(stderr).toBe('')
    const text = stdout.toString()
    expect(text).toMatch(/copy, then write .*✓ every byte/)
    expect(text).toMatch(new RegExp(`${available[0]} .*✓ every byte`))
    for (const title of ['pause', 'duration', 'MB/s', 'extra', 'p99', 'max', 'first restore', 'verified']) {
      expect(text).toContain(title)
    }
    expect(text).not.toContain('\u001b')
    removePage(/Its report page: (.*)$/m.exec(text)?.[1] ?? '')
  })

  it('keeps the files with --keep and says where they are', async () => {
    const { status, json } = await runJson([...small, '--keep', '--seed', '7'])
    expect(status).toBe(0)
    const kept = String(json['directory'])
    for (const engine of available) {
      const info = await inspect(join(kept, `${engine}.stillframe`))
      expect(info.byteLength).toBe(2 ** 25)
    }
    expect(existsSync(join(kept, 'naive.bin'))).toBe(true)
    expect(await inspect(join(kept, 'archive', '0000000020.sf'))).toMatchObject({ byteLength: 36 * 2 ** 20 })
    rmSync(kept, { recursive: true })
    removePage(String(json['archive']?.['page']))
    expect(readdirSync(directory)).toEqual([])
  })

  it.each(['SIGINT', 'SIGTERM'] as const)('removes its files when it is ended by %s', async (signal) => {
    const { status, stdout } = await run(['demo', '--size', '256MiB', '--dir', directory], {
      meanwhile: (child) => {
        // As soon as there is something to remove.
        const timer = setInterval(() => {
          const [made] = readdirSync(directory)
          if (made === undefined || readdirSync(join(directory, made)).length === 0) return
          clearInterval(timer)
          child.kill(signal)
        }, 5)
        child.once('exit', () => clearInterval(timer))
      },
    })
    expect(status).toBe(signal === 'SIGINT' ? 130 : 143)
    expect(stdout.toString()).not.toContain('verified')
    expect(readdirSync(directory)).toEqual([])
  })

  it('fails for a directory that is not there', async () => {
    const { status, stderr } = await run(['demo', '--dir', join(directory, 'absent')])
    expect(status).toBe(1)
    expect(stderr).toContain('absent')
  })
})
