/**
 * Recognizes results of a `snapshotState()` callback that show that its work is not yet done. The
 * copy ends with the callback, so that work would be lost.
 */

import { types } from 'node:util'

/** Throws if `returned` is a value that would do its work later. */
export function refuseUnfinished(returned: unknown): void {
  const what = laterWork(returned) ?? laterWorkAmong(returned)
  if (what === undefined) return
  throw new TypeError(
    `write must not return ${what}: nothing runs in the frozen copy after write has returned. ` +
      'Write everything with `out` before that',
  )
}

/** A noun phrase for the error message; undefined for a value that leaves no work for later. */
function laterWork(value: unknown): string | undefined {
  if (typeof value === 'function') return 'a function, which is never called'
  if (typeof value !== 'object' || value === null) return undefined
  const object = value as Partial<Record<PropertyKey, unknown>>
  if (typeof object['then'] === 'function') return 'a promise'
  if (types.isGeneratorObject(value)) return 'a generator, which is never run'
  // The iterators of helpers such as `values().map(out.value)` are as lazy as generators.
  if (typeof object['next'] === 'function') return 'an iterator, which is never run'
  if (typeof object[Symbol.asyncIterator] === 'function') return 'a stream, which is never read'
  return undefined
}

/** For arrays such as the result of `items.map(async (item) => …)`. */
function laterWorkAmong(value: unknown): string | undefined {
  if (!Array.isArray(value)) return undefined
  for (const element of value) {
    const what = laterWork(element)
    if (what !== undefined) return `an array with ${what}`
  }
  return undefined
}
