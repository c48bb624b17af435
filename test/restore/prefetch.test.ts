/**
 * Promise: prefetch reads the pages of a mapped region before they are accessed, and can do no
 * harm. Proved by the kernel's counts of mapped pages, and with a file that is truncated meanwhile.
 */

import { readFileSync, truncateSync } from 'node:fs'
import { Region, restore, snapshot } from 'stillframe'
import { expect, test } from 'vitest'
import { fillPattern } from '../support/pattern.mjs'
import { threadsNamed, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const byteLength = 64 * 2 ** 20

async function snapshotFile(): Promise<string> {
  const path = inDirectory('file')
  const region = Region.allocate(byteLength)
  fillPattern(region.buffer, 5)
  await snapshot(region, path).done
  region.close()
  return path
}

/** Bytes of the file's mappings that are resident. */
function mappedBytes(path: string): number {
  const [, ...mappings] = readFileSync('/proc/self/smaps', 'latin1').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  const ofFile = mappings.filter((mapping) => mapping.split('\n')[0]?.includes(path))
  return ofFile.reduce((sum, text) => sum + Number(/^Rss: +(\d+)/m.exec(text)?.[1] ?? 0) * 1024, 0)
}

const prefetchEnds = () =>
  waitUntil(() => threadsNamed('stillframe-pre').length === 0, 'the prefetch has ended')

test('all pages are there before they are touched, and only when it was asked for', async () => {
  const path = await snapshotFile()
  const lazy = await restore(path, { verify: false })
  expect(mappedBytes(path)).toBeLessThan(byteLength / 2)
  lazy.close()
  const restored = await restore(path, { verify: false, prefetch: true })
  await waitUntil(() => mappedBytes(path) >= byteLength, 'all pages are there')
  await prefetchEnds()
  restored.close()
})

test('a region that is closed at once, and a file that is cut off, end it', async () => {
  const path = await snapshotFile()
  const closed = await restore(path, { verify: false, prefetch: true })
  closed.close()
  await prefetchEnds()
  const cut = await restore(path, { verify: false, prefetch: true })
  truncateSync(path, 2 ** 20)
  await prefetchEnds()
  cut.close()
})
