/** Makes system calls of the addon fail: the addon counts its calls by name, see native/base/sys.h. */

import { constants } from 'node:os'
import { loadAddon } from '../../dist/load.js'

/**
 * @param {string} call - such as `'pwrite'`.
 * @param {number} nth - from 1, counted from now.
 * @param {string} error - such as `'EIO'`.
 * @param {boolean} [forever] - all later ones too.
 */
export function injectFault(call, nth, error, forever = false) {
  const number = /** @type {Record<string, number>} */ (constants.errno)[error]
  if (number === undefined) throw new Error(`no such error: ${error}`)
  loadAddon().injectFault(call, nth, number, forever)
}

/**
 * Ends all faults.
 *
 * @returns {Record<string, number>} how often this process (not its child) reached each call.
 */
export function clearFaults() {
  return loadAddon().clearFaults()
}
