/**
 * Promise: a disk or a file size limit that is too small gives ERR_STILLFRAME_NO_SPACE and leaves
 * the older file unchanged (T4). Proved on real filesystems of every size up to what the snapshot
 * needs, and under limits on the size of files.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { capabilities, preflight, Region, snapshot, verify } from 'stillframe'
import { describe, expect, type TestContext, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { needsRoot, needsTools } from '../support/needs.js'
import { fillPattern } from '../support/pattern.mjs'
import { outcomeOf } from '../support/report.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { mountTmpfs, resizeTmpfs } from '../support/tmpfs.js'
import { allVariants, optionsOf } from '../support/variants.mjs'

const inDirectory = useTemporaryDirectory()
const page = 4096

async function outcomeOfSnapshot(memory: Uint8Array, path: string): Promise<{ ok: boolean; code?: string }> {
  // The call itself may throw, since creating a file takes space as well.
  return await outcomeOf((async () => await snapshot(memory, path).done)())
}

for (const kind of ['full of data', 'with holes'] as const) {
  test(`a disk that fills up: memory ${kind}`, async (context) => {
    needsRoot(context, 'to mount file systems')
    const disk = inDirectory('disk')
    mountTmpfs(disk, 1 << 20)
    const memory = fillPattern(new Uint8Array(150_001), 1)
    // Whole blocks of zeros are holes, so the file is longer than the space it takes on disk.
    const sparse = new Uint8Array(2 << 20)
    sparse.set(memory.subarray(0, 70_000), 800_000)
    const source = kind === 'with holes' ? sparse : memory

    await snapshot(source, `${disk}/file`).done
    const needed = statSync(`${disk}/file`).blocks * 512
    await snapshot(new Uint8Array(10), `${disk}/file`).done
    const old = readFileSync(`${disk}/file`)
    const taken = statSync(`${disk}/file`).blocks * 512

    const outcomes: boolean[] = []
    for (let free = 0; free <= needed + page; free += page) {
      const what = `${free} bytes are free, ${needed} are needed`
      resizeTmpfs(disk, taken + free)
      const outcome = await outcomeOfSnapshot(source, `${disk}/file`)
      outcomes.push(outcome.ok)
      if (outcome.ok) {
        expect(await verify(`${disk}/file`), what).toMatchObject({ ok: true })
        expect(free, what).toBeGreaterThanOrEqual(needed)
        resizeTmpfs(disk, 1 << 20)
        await snapshot(new Uint8Array(10), `${disk}/file`).done
      } else {
        expect(outcome, what).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_NO_SPACE' })
      }
      // After a success, the same contents have a new id each time.
      if (!outcomes.includes(true)) expect(readFileSync(`${disk}/file`).equals(old), what).toBe(true)
      expect(readdirSync(disk), what).toEqual(['file'])
    }
    expect(outcomes.length).toBeGreaterThan(15)
    expect(outcomes.at(0)).toBe(false)
    expect(outcomes.at(-1)).toBe(true)
  })
}

const MiB = 2 ** 20

test('a filesystem that does not say how much is free is written to until it refuses', async (context) => {
  needsRoot(context, 'to mount file systems')
  const disk = inDirectory('disk')
  mkdirSync(disk)
  expect(spawnSync('mount', ['-t', 'ramfs', 'ramfs', disk]).status).toBe(0)
  using region = Region.allocate(16 * MiB)
  new Uint8Array(region.buffer).fill(1)
  for (const variant of allVariants) {
    const options = optionsOf[variant]
    if (!capabilities().engines[options.engine].available) continue
    // Slow enough that the space would have been checked long before the end.
    await snapshot(region, `${disk}/file`, { ...options, maxBytesPerSecond: 32 * MiB }).done
    expect(await verify(`${disk}/file`), variant).toMatchObject({ ok: true })
  }
  const { freeDiskBytes, hazards } = await preflight(region, `${disk}/file`)
  expect(freeDiskBytes).toBe(Number.POSITIVE_INFINITY)
  expect(hazards.map(({ code }) => code)).not.toContain('DISK_SHORT')
})

describe.each(allVariants)('a disk of less than the memory: %s', (variant) => {
  const options = optionsOf[variant]

  function onDiskOf4MiB(context: TestContext): string {
    needsRoot(context, 'to mount file systems')
    if (!capabilities().engines[options.engine].available) context.skip(`no ${options.engine} here`)
    mountTmpfs(inDirectory('disk'), 4 * MiB)
    return `${inDirectory('disk')}/file`
  }

  test('what is written after the call takes no space', async (context) => {
    const path = onDiskOf4MiB(context)
    using region = Region.allocate(64 * MiB)
    const bytes = new Uint8Array(region.buffer).fill(1).fill(0)
    bytes.fill(9, 0, MiB)
    const shot = snapshot(region, path, options)
    bytes.fill(1)
    expect((await shot.done).allocatedBytes).toBeLessThan(2 * MiB)
    expect(await verify(path)).toMatchObject({ ok: true })
  })

  test('what has been written already is not counted twice', async (context) => {
    const path = onDiskOf4MiB(context)
    for (let again = 0; again < 5; again++) {
      using region = Region.allocate(64 * MiB)
      const bytes = new Uint8Array(region.buffer).fill(1).fill(0)
      bytes.fill(9, 0, 3 * MiB)
      await snapshot(region, path, options).done
      rmSync(path)
    }
  })

  test('what cannot fit ends before the disk is full', async (context) => {
    const path = onDiskOf4MiB(context)
    using region = Region.allocate(64 * MiB)
    new Uint8Array(region.buffer).fill(1)
    const shot = snapshot(region, path, { ...options, maxBytesPerSecond: MiB })
    expect(await rejectionOf(shot.done)).toMatchObject({ code: 'ERR_STILLFRAME_NO_SPACE', syscall: 'statfs' })
  })
})

test('a limit on the size of files', async (context) => {
  needsTools(context, 'prlimit')
  const fixture = startFixture(new URL('fixtures/size-limit.mjs', import.meta.url), [inDirectory()])
  let steps = 0
  for (;;) {
    const { end, limit, fits, outcome, verified, replaced, names } = await fixture.report()
    if (end) break
    steps++
    const what = `at most ${limit} bytes`
    if (fits) expect(outcome, what).toEqual({ ok: true })
    else expect(outcome, what).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_NO_SPACE' })
    expect({ verified, replaced, names }, what).toEqual({ verified: true, replaced: fits, names: ['file'] })
  }
  expect(steps).toBeGreaterThan(30)
  expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
})
