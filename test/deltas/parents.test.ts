/**
 * Promise: a frame is never read with, or built on, any file other than the recorded one: a missing
 * or changed parent is ERR_STILLFRAME_PARENT, with the places that were searched, and nothing is
 * lost by it.
 */

import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inspect, Region, restore, type SnapshotResult, snapshot, verify } from 'stillframe'
import { expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const options = { engine: 'fork', durable: false } as const
const parentError = { code: 'ERR_STILLFRAME_PARENT' }

/** Frames that were taken in one directory, and then moved to these places. */
async function takeChain(places: readonly string[]): Promise<{ paths: string[]; bytes: Uint8Array }> {
  using region = Region.allocate(300_000)
  const bytes = new Uint8Array(region.buffer)
  let parent: SnapshotResult | undefined
  const paths: string[] = []
  for (const [index, place] of places.entries()) {
    bytes.fill(index + 1, index * 4096, index * 4096 + 10)
    parent = await snapshot(region, inDirectory(String(index)), { ...options, parent }).done
    paths.push(inDirectory(place))
  }
  for (const [index, path] of paths.entries()) {
    mkdirSync(join(path, '..'), { recursive: true })
    renameSync(inDirectory(String(index)), path)
  }
  return { paths, bytes: new Uint8Array(bytes) }
}

async function expectReadable(path: string, bytes: Uint8Array, parents?: string | URL | (string | URL)[]) {
  using restored = await restore(path, { parents })
  expect(Buffer.compare(new Uint8Array(restored.regions['main']?.buffer as ArrayBuffer), bytes)).toBe(0)
  expect((await verify(path, { parents })).ok).toBe(true)
  await inspect(path, { parents })
}

async function expectRefused(path: string, parents?: string | string[]): Promise<void> {
  await expect(restore(path, { parents })).rejects.toMatchObject(parentError)
  await expect(inspect(path, { parents })).rejects.toMatchObject(parentError)
  await expect(verify(path, { parents })).rejects.toMatchObject(parentError)
}

test('parents are found by their id, beside the file or where the caller says', async () => {
  const { paths, bytes } = await takeChain(['a/0', 'b/1', 'c/2'])
  const [first = '', second = '', third = ''] = paths
  await expectRefused(third)
  const [a, b] = [inDirectory('a'), inDirectory('b')]
  await expectReadable(third, bytes, [a, b])
  await expectReadable(third, bytes, [`${a}/`, pathToFileURL(`${b}/`)])
  await expectReadable(third, bytes, [first, second])
  await expectRefused(third, a)
  await expectRefused(third, [b, inDirectory('nowhere')])
  // In the same directory, under other names.
  copyFileSync(first, inDirectory('c/x'))
  copyFileSync(second, inDirectory('c/y'))
  writeFileSync(inDirectory('c/z'), 'no snapshot')
  await expectReadable(third, bytes)
})

test('the message says which snapshot is missing, and where it was looked for', async () => {
  const { paths } = await takeChain(['0', '1'])
  const [first = '', second = ''] = paths
  const { id } = await inspect(first)
  renameSync(first, inDirectory('moved').replace(/moved$/, '../moved-away'))
  await expect(restore(second)).rejects.toThrow(id)
  await expect(restore(second)).rejects.toThrow(join(second, '..'))
  await expect(restore(second)).rejects.toThrow('parents')
})

test('a file that has taken the place of the parent is refused', async () => {
  const { paths } = await takeChain(['0', '1'])
  const [first = '', second = ''] = paths
  const bytes = readFileSync(first)
  using region = Region.allocate(300_000)
  await snapshot(region, first, options).done
  await expectRefused(second)
  // The same id, but damaged.
  bytes[70_000] = (bytes[70_000] ?? 0) ^ 1
  writeFileSync(first, bytes)
  await expect(restore(second)).rejects.toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
  const report = await verify(second)
  expect(report.ok).toBe(false)
  expect(report.problems[0]?.reason).toContain(first)
})

test('a capture whose parent is gone, is another one or is no snapshot fails, and leaves nothing', async () => {
  const { paths } = await takeChain(['0', '1', '2'])
  const [first = '', second = '', third = ''] = paths
  using region = Region.allocate(300_000)
  const target = inDirectory('next')
  const take = (parent: string | { id: string; path: string }) =>
    snapshot(region, target, { ...options, parent }).done
  await expect(take(inDirectory('nowhere'))).rejects.toMatchObject(parentError)
  writeFileSync(inDirectory('text'), 'no snapshot')
  await expect(take(inDirectory('text'))).rejects.toMatchObject(parentError)
  const { id } = await inspect(second)
  await expect(take({ id, path: third })).rejects.toMatchObject(parentError)
  renameSync(first, `${first}.gone`)
  mkdirSync(inDirectory('away'))
  renameSync(`${first}.gone`, inDirectory('away/0'))
  await expect(take(third)).rejects.toMatchObject(parentError)
  expect(existsSync(target)).toBe(false)
  // The memory is free, and the next capture succeeds.
  renameSync(inDirectory('away/0'), first)
  expect(await take(third)).toMatchObject({ kind: 'delta' })
})

test('a snapshot cannot take the place of one that it builds on', async () => {
  const { paths, bytes } = await takeChain(['0', '1'])
  using region = Region.allocate(300_000)
  for (const path of paths) {
    const running = snapshot(region, path, { ...options, parent: paths[1] })
    await expect(running.done).rejects.toMatchObject(parentError)
  }
  await expectReadable(paths[1] ?? '', bytes)
})

test('what is not complete cannot be built on', async () => {
  using region = Region.allocate(300_000)
  const running = snapshot(region, inDirectory('0'), options)
  expect(() => snapshot(region, inDirectory('1'), { ...options, parent: running })).toThrow(
    expect.objectContaining(parentError),
  )
  running.abort()
  await running.done.catch(() => {})
  expect(() => snapshot(region, inDirectory('1'), { ...options, parent: running })).toThrow(
    expect.objectContaining(parentError),
  )
})
