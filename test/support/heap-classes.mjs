/** Heap snapshots as read by the reader of Chrome DevTools (packaged as heap-snapshot-toolkit). */

import { createReadStream } from 'node:fs'
import { parse } from 'heap-snapshot-toolkit'

/**
 * The classes of the objects in a file, largest first.
 *
 * @param {string} path
 * @returns {Promise<{ name: string; count: number; bytes: number }[]>} `bytes`: shallow
 */
export async function classesIn(path) {
  const heap = await parse(createReadStream(path, 'utf8'))
  return Object.values(heap.aggregatesWithFilter(/** @type {any} */ ({})))
    .map(({ name, count, self }) => ({ name, count, bytes: self }))
    .sort((a, b) => b.bytes - a.bytes)
}
