/**
 * A small service with a history: an archive of twenty frames, and the report page that shows it.
 */

import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { openArchive } from '../../archive/index.js'
import { Region } from '../../index.js'
import { reportArchive } from '../../report/archive.js'
import { renderPage } from '../../report/page.js'
import type { Io } from '../io.js'
import { pageBytes, Random } from './memory.js'

/** Number of captures. */
export const frameCount = 20
/** Large enough for a map that shows something, small enough to be saved almost instantly. */
const tableBytes = 2 ** 25
const indexBytes = 2 ** 22
/** Delay between two frames, so that the page has a timeline. */
const pauseMs = 50

/** The archive and the page that were made. */
export interface ShownArchive {
  /** Path of the page. */
  page: string
  frames: number
  /** Sum over all frames. */
  byteLength: number
  /** Size on disk, in bytes. */
  fileSize: number
  /** Longest pause of any frame. */
  pauseMs: number
}

/**
 * Captures a service that appends to a table, changes a hot range of the table and of an index, and
 * is idle now and then.
 *
 * @param directory - directory of the archive, which is created.
 * @param page - path of the page to write; replaces the page of an earlier demo.
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
  // Data from before the first capture.
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

/** The service's work between two frames. */
function work(table: Uint32Array, index: Uint32Array, frame: number, random: Random): void {
  const wordsPerPage = pageBytes / 4
  const pages = table.length / wordsPerPage
  const write = (memory: Uint32Array, page: number): void => {
    const first = Math.floor(page) * wordsPerPage
    for (let word = first; word < first + wordsPerPage; word += 16) memory[word] = random.next()
  }
  const end = pages * (0.2 + (0.7 * frame) / frameCount)
  for (let page = end; page < end + pages / 40; page++) write(table, page)
  // The service is idle for a while.
  if (frame % 8 > 5) return
  for (let count = 0; count < 120; count++) write(table, pages * (0.05 + (0.06 * random.next()) / 2 ** 32))
  for (let count = 0; count < 40; count++) write(table, (end * random.next()) / 2 ** 32)
  for (let count = 0; count < 150; count++)
    write(index, (index.length / wordsPerPage) * (random.next() / 2 ** 32) ** 2)
}
