/** A fixture's side of the conversation with its test: a line of JSON on stdout for each report. */

import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'

/**
 * Written at once: a report must be out also when the process is about to be killed.
 *
 * @param {Record<string, unknown>} fields
 */
export function report(fields) {
  writeSync(1, `${JSON.stringify(fields)}\n`)
}

/**
 * What a test wants to know of an error.
 *
 * @param {any} error
 */
export function describeError(error) {
  const { name, message, code, errno, syscall } = error ?? {}
  return { name, message, code, errno, syscall }
}

/**
 * The code of what a call throws.
 *
 * @param {() => unknown} operation
 */
export function codeThrownBy(operation) {
  try {
    operation()
    return 'nothing was thrown'
  } catch (error) {
    return describeError(error).code
  }
}

/**
 * What came of a promise.
 *
 * @param {Promise<unknown>} promise
 */
export async function outcomeOf(promise) {
  return await promise.then(
    () => ({ ok: true }),
    (error) => ({ ok: false, ...describeError(error) }),
  )
}

/**
 * Calls `listener` with each line that the test sends.
 *
 * @param {(line: string) => void} listener
 */
export function onLine(listener) {
  createInterface({ input: process.stdin }).on('line', listener)
}
