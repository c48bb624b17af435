/**
 * The fixture's side of the communication with its test: each report is a line of JSON on stdout.
 */

import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'

/**
 * Writes a report synchronously, so that it is out even if the process is about to be killed.
 *
 * @param {Record<string, unknown>} fields
 */
export function report(fields) {
  writeSync(1, `${JSON.stringify(fields)}\n`)
}

/**
 * The properties of an error that tests check.
 *
 * @param {any} error
 */
export function describeError(error) {
  const { name, message, code, errno, syscall } = error ?? {}
  return { name, message, code, errno, syscall }
}

/**
 * The code of the error that a call throws.
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
 * The outcome of a promise.
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
