/** Paths of snapshot files, as the caller gives them. */

import { dirname, resolve } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { types } from 'node:util'
import { invalidArgType, invalidArgValue } from './errors.js'
import { isWellFormed } from './validate.js'

/**
 * Checks a path or `file:` URL and makes it absolute now, so that a later `process.chdir()` changes
 * nothing.
 *
 * @param access - what is about to be done with the file. The addon is not bound by Node's
 *   permission model (`--permission`), but granting an addon to a program does not grant it every
 *   file.
 * @param name - of the argument, for messages.
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, or what `fileURLToPath`
 *   throws; Error `ERR_ACCESS_DENIED`, as from Node's own functions.
 */
export function checkPath(value: unknown, access: 'read' | 'write', name = 'path'): string {
  const text = checkText(value, name)
  // resolve() would drop the slash, and turn what was meant to be a directory into a file.
  if (text.endsWith('/')) throw invalidArgValue(`${name} must name a file, not a directory: '${text}'`)
  return absolute(text, access)
}

/** The same for what may be a directory, to be read. */
export function checkPlace(value: unknown, name: string): string {
  return absolute(checkText(value, name), 'read')
}

/** The same for a directory; a slash at the end is no matter. */
export function checkDirectory(value: unknown, access: 'read' | 'write', name: string): string {
  return absolute(checkText(value, name), access)
}

function checkText(value: unknown, name: string): string {
  const text = isUrl(value) ? fileURLToPath(value.href) : value
  if (typeof text !== 'string') throw invalidArgType(name, 'a string or a file: URL', value)
  if (text === '') throw invalidArgValue(`${name} must not be empty`)
  if (text.includes('\0')) throw invalidArgValue(`${name} must not contain NUL characters`)
  // A path with lone surrogates would be written under another file name than the one asked for.
  if (!isWellFormed(text)) throw invalidArgValue(`${name} must not contain lone surrogates`)
  return text
}

function absolute(text: string, access: 'read' | 'write'): string {
  const path = resolve(text)
  checkPermission(path, access)
  return path
}

function checkPermission(path: string, access: 'read' | 'write'): void {
  const { permission } = process as { permission?: NodeJS.ProcessPermission }
  if (permission === undefined || permission.has(`fs.${access}`, path)) return
  const message = `${path}: Node's permission model does not let this process ${access} here`
  throw Object.assign(new Error(`${message}. Start Node with --allow-fs-${access}=${dirname(path)}/*`), {
    code: 'ERR_ACCESS_DENIED',
    permission: access === 'read' ? 'FileSystemRead' : 'FileSystemWrite',
    resource: path,
  })
}

/** A URL of any realm, recognized by its shape, since `instanceof` knows only those of this one. */
function isUrl(value: unknown): value is URL {
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return false
  const url = value as Partial<URL>
  return typeof url.href === 'string' && typeof url.protocol === 'string'
}
