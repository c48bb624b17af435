/**
 * Tells whether memory is excluded from forked children (MADV_DONTFORK, the flag `dc` in smaps).
 */

import { closeSync, openSync, readSync } from 'node:fs'
import { loadAddon } from '../../dist/addon/load.js'
import { flaggedMappings } from './footprint.mjs'
import { Random } from './random.mjs'

/**
 * Asks the addon.
 *
 * @param {ArrayBufferLike} buffer
 * @returns {boolean} the state of the mapping that contains the first byte.
 */
export function dontForkOf(buffer) {
  return loadAddon().isDontFork(new Uint8Array(buffer, 0, 1), 1)
}

/**
 * Asks the kernel. No code of the package takes part, so it cannot mislead the test.
 *
 * @param {number} address - of the memory, see {@link addressOf}.
 * @param {number} byteLength
 * @returns {boolean[]} the distinct states of the mappings under the memory.
 */
export function dontForkMarks(address, byteLength) {
  const under = flaggedMappings().filter(({ start, end }) => start < address + byteLength && address < end)
  if (under.length === 0) throw new Error('nothing is mapped there')
  return [...new Set(under.map(({ flags }) => flags.includes('dc')))]
}

/**
 * Address of memory. JavaScript has no way to get it, so this overwrites the first bytes with a
 * mark and searches for the mark through /proc/self/mem, in mappings of at least the size of the
 * memory.
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
    // Copies (such as the buffer that the search just read into) do not change with the original.
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
    // Windows overlap, so that a mark across a border is found.
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
    return bytes.subarray(0, 0) // unmapped since smaps was read
  }
}
