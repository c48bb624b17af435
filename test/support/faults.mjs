/** Makes system calls of the addon fail: the addon counts its calls by name, see native/base/sys.h. */

import { constants } from 'node:os'
import { loadAddon } from '../../dist/addon/load.js'
import { longMode } from './long-mode.mjs'

/**
 * @param {string} call - such as `'pwrite'`.
 * @param {number} nth - from 1, counted from now.
 * @param {string} error - such as `'EIO'`; `'NOTHING'`: the call answers 0 and does nothing.
 * @param {boolean} [forever] - all later ones too.
 * @param {Pick<ReturnType<typeof loadAddon>, 'injectFault'>} [addon] - whose calls.
 */
export function injectFault(call, nth, error, forever = false, addon = loadAddon()) {
  const number = { ...constants.errno, NOTHING: -1 }[error]
  if (number === undefined) throw new Error(`no such error: ${error}`)
  addon.injectFault(call, nth, number, forever)
}

/**
 * Which call is to fail after the nth one: each, or in CI the first ones and then ever fewer.
 *
 * @param {number} nth
 * @param {boolean} forever - whether all later ones fail, too: then fewer tell something new.
 * @param {number} step - how far it goes on at least.
 */
export function nextToFail(nth, forever, step) {
  if (longMode || (nth < 6 && !forever)) return nth + step
  return Math.max(Math.ceil(nth * (forever ? 2 : 1.5)), nth + step)
}

/**
 * Ends all faults.
 *
 * @param {Pick<ReturnType<typeof loadAddon>, 'clearFaults'>} [addon]
 * @returns {Record<string, number>} how often this process (not its child) reached each call.
 */
export function clearFaults(addon = loadAddon()) {
  return addon.clearFaults()
}
