/** Paths of snapshot files, as the caller gives them. */

import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { types } from 'node:util'
import { invalidArgType, invalidArgValue } from './errors.js'
import { isWellFormed } from './validate.js'

/**
 * Checks a path or `file:` URL and makes it absolute now, so that a later `process.chdir()` changes nothing.
 *
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, or what `fileURLToPath` throws.
 */
export function checkPath(value: unknown, name = 'path'): string {
  const text = isUrl(value) ? fileURLToPath(value.href) : value
  if (typeof text !== 'string') throw invalidArgType(name, 'a string or a file: URL', value)
  if (text === '') throw invalidArgValue(`${name} must not be empty`)
  if (text.includes('\0')) throw invalidArgValue(`${name} must not contain NUL characters`)
  // A path with lone surrogates would be written as another file name than the one asked for.
  if (!isWellFormed(text)) throw invalidArgValue(`${name} must not contain lone surrogates`)
  // resolve() would drop the slash and make a file of what was meant to be a directory.
  if (text.endsWith('/')) throw invalidArgValue(`${name} must name a file, not a directory: '${text}'`)
  return resolve(text)
}

/** A URL of any realm: by its shape, since `instanceof` knows only this one. */
function isUrl(value: unknown): value is URL {
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return false
  const url = value as Partial<URL>
  return typeof url.href === 'string' && typeof url.protocol === 'string'
}
