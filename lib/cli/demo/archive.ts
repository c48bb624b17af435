/** A small service with a past: an archive of twenty frames, and the page that shows it. */

import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { openArchive } from '../../archive/index.js'
import { Region } from '../../index.js'
import { reportArchive } from '../../report/archive.js'
import { renderPage } from '../../report/page.js'
import type { Io } from '../io.js'
import { pageBytes, Random } from './memory.js'

/** How often it is captured. */
export const frameCount = 20
/** Enough for a map in which something can be seen, and saved in no time. */
const tableBytes = 2 ** 25
const indexBytes = 2 ** 22
/** Between two frames, so that the page has a time line. */
const pauseMs = 50

/** What has become of it. */
export interface ShownArchive {
  /** Path of the page. */
  page: string
  frames: number
  /** Of all frames together. */
  byteLength: number
  /** On the disk. */
  fileSize: number
  /** The longest of all frames. */
  pauseMs: number
}

/**
 * Captures a service that appends to a table, changes a hot range of it and of an index, and rests
 * now and then.
 *
 * @param directory - of the archive; made anew.
 * @param page - path of the page to write; that of an earlier demo is replaced.
 */
export async function showArchive(
  directory: string,
  page: string,
  seed: number,
  { signal }: Pick<Io, 'signal'>,
): Promise<ShownArchive> {
  using table = Region.allocate(tableBytes, { name: 'table' })
  using index = Region.allocate(indexBytes, { name: 'index' })
  const random = new Random(seed)
  await using archive = await openArchive(directory)
  // What it had before.
  for (let word = 0; word < table.buffer.byteLength / 20; word += 16) {
    new Uint32Array(table.buffer)[word] = random.next()
  }
  for (let frame = 0; frame < frameCount; frame++) {
    await archive.capture({ table, index }, { signal }).done
    work(new Uint32Array(table.buffer), new Uint32Array(index.buffer), frame, random)
    await sleep(pauseMs, undefined, { signal })
  }
  const data = await reportArchive(directory, { last: frameCount, verify: true, signal })
  await writeFile(page, renderPage(data))
  const sum = (of: 'byteLength' | 'fileSize'): number =>
    data.frames.reduce((so, frame) => so + (frame[of] ?? 0), 0)
  return {
    page,
    frames: data.frames.length,
    byteLength: sum('byteLength'),
    fileSize: sum('fileSize'),
    pauseMs: data.frames.reduce((most, frame) => Math.max(most, frame.pauseMs ?? 0), 0),
  }
}

/** What the service does between two frames. */
function work(table: Uint32Array, index: Uint32Array, frame: number, random: Random): void {
  const wordsPerPage = pageBytes / 4
  const pages = table.length / wordsPerPage
  const write = (memory: Uint32Array, page: number): void => {
    const first = Math.floor(page) * wordsPerPage
    for (let word = first; word < first + wordsPerPage; word += 16) memory[word] = random.next()
  }
  const end = pages * (0.2 + (0.7 * frame) / frameCount)
  for (let page = end; page < end + pages / 40; page++) write(table, page)
  // It rests for a while.
  if (frame % 8 > 5) return
  for (let count = 0; count < 120; count++) write(table, pages * (0.05 + (0.06 * random.next()) / 2 ** 32))
  for (let count = 0; count < 40; count++) write(table, (end * random.next()) / 2 ** 32)
  for (let count = 0; count < 150; count++)
    write(index, (index.length / wordsPerPage) * (random.next() / 2 ** 32) ** 2)
}
