/** Hashes of the contents of a snapshot. */

import { restore } from 'stillframe'
import { hashOf } from './pattern.mjs'

/**
 * @param {string} path
 * @returns {Promise<Record<string, string>>} by section.
 */
export async function hashesIn(path) {
  const restored = await restore(path, { mode: 'copy' })
  const hashes = Object.entries(restored.regions).map(([name, { buffer }]) => [name, hashOf(buffer)])
  restored.close()
  return Object.fromEntries(hashes)
}
