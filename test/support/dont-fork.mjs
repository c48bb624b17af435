/** Whether memory is kept from forked children: MADV_DONTFORK, the flag `dc` in smaps. */

import { closeSync, openSync, readSync } from 'node:fs'
import { loadAddon } from '../../dist/addon/load.js'
import { flaggedMappings } from './footprint.mjs'
import { Random } from './random.mjs'

/**
 * Asks the addon.
 *
 * @param {ArrayBufferLike} buffer
 * @returns {boolean} of the mapping of the first byte.
 */
export function dontForkOf(buffer) {
  return loadAddon().isDontFork(new Uint8Array(buffer, 0, 1), 1)
}

/**
 * Asks the kernel: nothing of the package takes part, so that it cannot fool the test.
 *
 * @param {number} address - of the memory, see {@link addressOf}.
 * @param {number} byteLength
 * @returns {boolean[]} of each mapping under the memory; without repetitions.
 */
export function dontForkMarks(address, byteLength) {
  const under = flaggedMappings().filter(({ start, end }) => start < address + byteLength && address < end)
  if (under.length === 0) throw new Error('nothing is mapped there')
  return [...new Set(under.map(({ flags }) => flags.includes('dc')))]
}

/**
 * Where in the address space memory lies: JavaScript cannot say, so it is searched for through /proc/self/mem by
 * its first bytes, which are overwritten. Looks at mappings of at least the size of the memory.
 *
 * @param {Uint8Array} bytes
 */
export function addressOf(bytes) {
  const random = new Random(bytes.length ^ Date.now())
  const mark = bytes.subarray(0, 32)
  random.fill(mark)
  const memory = openSync('/proc/self/mem', 'r')
  try {
    const found = flaggedMappings()
      .filter(({ flags, start, end }) => isWritable(flags) && end - start >= bytes.length)
      .flatMap((mapping) => search(memory, mapping, mark))
    // Copies (such as the buffer that was just read into) do not follow when the original changes.
    random.fill(mark)
    const originals = found.filter((at) => read(memory, at, mark.length).equals(mark))
    if (originals.length !== 1) throw new Error(`found the memory at ${originals.length} places`)
    return /** @type {number} */ (originals[0])
  } finally {
    closeSync(memory)
  }
}

/** @param {string[]} flags */
function isWritable(flags) {
  return flags.includes('rd') && flags.includes('wr')
}

/**
 * @param {number} memory
 * @param {{ start: number, end: number }} mapping
 * @param {Uint8Array} mark
 */
function search(memory, { start, end }, mark) {
  const window = 1 << 20
  const found = []
  for (let at = start; at < end; at += window) {
    // With a tail, for marks across the border of two windows.
    const bytes = read(memory, at, Math.min(window + mark.length - 1, end - at))
    for (let i = bytes.indexOf(mark); i >= 0; i = bytes.indexOf(mark, i + 1)) found.push(at + i)
  }
  return [...new Set(found)]
}

/**
 * @param {number} memory
 * @param {number} at
 * @param {number} length
 */
function read(memory, at, length) {
  const bytes = Buffer.alloc(length)
  try {
    return bytes.subarray(0, readSync(memory, bytes, 0, length, at))
  } catch {
    return bytes.subarray(0, 0) // unmapped in between
  }
}
