/**
 * Makes system calls of the addon fail. The addon counts its calls by name, see native/base/sys.h.
 */

import { constants } from 'node:os'
import { loadAddon } from '../../dist/addon/load.js'
import { longMode } from './long-mode.mjs'

/**
 * @param {string} call - such as `'pwrite'`.
 * @param {number} nth - which call fails, counted from 1 starting now.
 * @param {string} error - such as `'EIO'`. With `'NOTHING'`, the call returns 0 and does nothing.
 * @param {boolean} [forever] - later calls fail too.
 * @param {Pick<ReturnType<typeof loadAddon>, 'injectFault'>} [addon] - the addon whose calls fail.
 */
export function injectFault(call, nth, error, forever = false, addon = loadAddon()) {
  const number = { ...constants.errno, NOTHING: -1 }[error]
  if (number === undefined) throw new Error(`no such error: ${error}`)
  addon.injectFault(call, nth, number, forever)
}

/**
 * The call to fail after the nth one: every call in long mode; in CI the first few, and then ever
 * fewer.
 *
 * @param {number} nth
 * @param {boolean} forever - true if all later calls fail too, in which case fewer runs reveal
 *   anything new.
 * @param {number} step - the minimum distance to the next call.
 */
export function nextToFail(nth, forever, step) {
  if (longMode || (nth < 6 && !forever)) return nth + step
  return Math.max(Math.ceil(nth * (forever ? 2 : 1.5)), nth + step)
}

/**
 * Removes all faults.
 *
 * @param {Pick<ReturnType<typeof loadAddon>, 'clearFaults'>} [addon]
 * @returns {Record<string, number>} how often this process (not its child) reached each call.
 */
export function clearFaults(addon = loadAddon()) {
  return addon.clearFaults()
}
