/**
 * Promise: whatever the writer does between a reader's plan and its first byte, the reader gets a
 * whole frame and no error: it plans again if frames are pruned, compacted or removed at that
 * moment. Proved with a writer that acts exactly then.
 */

import { open } from 'node:fs/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { type Archive, openArchive } from '../../lib/archive/index.js'
import * as leases from '../../lib/archive/lease.js'
import * as locks from '../../lib/archive/lock.js'
import { Region } from '../../lib/index.js'
import { rejectionOf } from '../support/expect-error.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

vi.mock(import('../../lib/archive/lease.js'), { spy: true })
vi.mock(import('../../lib/archive/lock.js'), { spy: true })
const { takeLease } = await vi.importActual<typeof leases>('../../lib/archive/lease.js')

const inDirectory = useTemporaryDirectory()
afterEach(() => vi.mocked(leases.takeLease).mockReset())

/** Takes a frame of memory in which every byte is `number`. */
async function take(archive: Archive, region: Region, number: number, options: object = {}): Promise<void> {
  new Uint8Array(region.buffer).fill(number)
  await archive.capture(region, options).done
}

/** Restores while the writer acts between the plan and the locks. */
async function restoredWhile(
  reader: Archive,
  action: () => Promise<unknown>,
  options = {},
): Promise<[number, number | undefined]> {
  vi.mocked(leases.takeLease).mockImplementationOnce(async (paths) => {
    await action()
    return await takeLease(paths)
  })
  vi.mocked(leases.takeLease).mockImplementation(takeLease)
  const restored = await reader.restore(options)
  expect(restored.skipped).toEqual([])
  const byte = new Uint8Array(restored.regions['main']?.buffer as ArrayBuffer)[5000]
  restored.close()
  return [restored.frame.number, byte]
}

test('the frame is given up and its files are removed: the newest one is restored', async () => {
  const region = Region.allocate(64 * 1024)
  await using archive = await openArchive(inDirectory('archive'))
  await using reader = await openArchive(inDirectory('archive'), { readOnly: true })
  await take(archive, region, 1)
  const replaced = async (): Promise<void> => {
    await take(archive, region, 2, { full: true })
    await archive.prune({ retention: { last: 1 } })
  }
  expect(await restoredWhile(reader, replaced)).toEqual([2, 2])
  region.close()
})

test('the frame of a time is given up: the one that is left before it is restored, or it is told that there is none', async () => {
  const region = Region.allocate(64 * 1024)
  await using archive = await openArchive(inDirectory('archive'))
  await take(archive, region, 1)
  await new Promise((resolve) => setTimeout(resolve, 2))
  const at = new Date()
  await new Promise((resolve) => setTimeout(resolve, 2))
  await take(archive, region, 2, { full: true })
  vi.mocked(leases.takeLease).mockImplementationOnce(async (paths) => {
    await archive.prune({ retention: { last: 1 } })
    return await takeLease(paths)
  })
  expect(await rejectionOf(archive.restore({ at }))).toMatchObject({ code: 'ERR_STILLFRAME_GAP' })
  region.close()
})

test('the chain is compacted, and what it was made of is removed: the same frame is restored', async () => {
  const region = Region.allocate(64 * 1024)
  await using archive = await openArchive(inDirectory('archive'))
  await using reader = await openArchive(inDirectory('archive'), { readOnly: true })
  for (let n = 1; n <= 3; n++) await take(archive, region, n)
  const compacted = async (): Promise<void> => {
    await archive.compact()
    await archive.prune({ retention: { last: 1 } })
  }
  expect(await restoredWhile(reader, compacted)).toEqual([3, 3])
  region.close()
})

test('frames are given up as fast as they are planned with: the reader comes to an end', async () => {
  const region = Region.allocate(64 * 1024)
  await using archive = await openArchive(inDirectory('archive'))
  await take(archive, region, 1)
  let frames = 1
  vi.mocked(leases.takeLease).mockImplementation(async (paths) => {
    if (frames < 20) {
      frames++
      await take(archive, region, frames, { full: true })
      await archive.prune({ retention: { last: 1 } })
    }
    return await takeLease(paths)
  })
  const restored = await archive.restore()
  expect([restored.frame.number, restored.skipped]).toEqual([20, []])
  restored.close()
  region.close()
})

test('a frame is given up while its bytes are read: it stays until they have been', async () => {
  const region = Region.allocate(16 << 20)
  await using archive = await openArchive(inDirectory('archive'))
  await take(archive, region, 1)
  const into = new Uint8Array(region.byteLength)
  let pruned: Promise<{ kept: { number: number; keptBecause: string[] }[] }> | undefined
  vi.mocked(leases.takeLease).mockImplementation(async (paths) => {
    const lease = await takeLease(paths)
    await take(archive, region, 2, { full: true })
    pruned = archive.prune({ retention: { last: 1 } })
    await pruned
    return lease
  })
  const restored = await archive.restore({ at: new Date(), into: { main: into }, id: undefined })
  expect(restored.frame.number).toBe(1)
  expect((await pruned)?.kept.map(({ number, keptBecause }) => [number, keptBecause])).toEqual([
    [1, ['in use']],
    [2, ['newest', 'last 1']],
  ])
  expect(into.every((byte) => byte === 1)).toBe(true)
  vi.mocked(leases.takeLease).mockReset()
  expect((await archive.prune({ retention: { last: 1 } })).kept.map(({ number }) => number)).toEqual([2])
  region.close()
})

test('the file is removed between its opening and its lock: the newest frame is restored', async () => {
  const region = Region.allocate(64 * 1024)
  await using archive = await openArchive(inDirectory('archive'))
  await take(archive, region, 1)
  vi.mocked(locks.lockForReading).mockImplementationOnce(async (path) => {
    const file = await open(path)
    await take(archive, region, 2, { full: true })
    await archive.prune({ retention: { last: 1 } })
    return file
  })
  const restored = await archive.restore()
  expect([restored.frame.number, restored.skipped]).toEqual([2, []])
  restored.close()
  region.close()
})
