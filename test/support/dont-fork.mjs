/** Whether memory is kept from forked children: MADV_DONTFORK, the flag `dc` in smaps. */

import { loadAddon } from '../../dist/addon/load.js'

/**
 * @param {ArrayBufferLike} buffer
 * @returns {boolean} of the mapping of the first byte.
 */
export function dontForkOf(buffer) {
  return loadAddon().isDontFork(new Uint8Array(buffer, 0, 1), 1)
}
