/** Checks the paths that callers pass. */

import { dirname, resolve } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { types } from 'node:util'
import { invalidArgType, invalidArgValue } from './errors.js'
import { isWellFormed } from './validate.js'

/**
 * Checks a path or `file:` URL and makes it absolute immediately, so that a later `process.chdir()`
 * has no effect.
 *
 * @param access - the intended use of the file. Node's permission model (`--permission`) does not
 *   bind the addon, but permission to load an addon does not grant a program access to every file.
 * @param name - name of the argument, for messages.
 * @throws TypeError `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, or the errors of
 *   `fileURLToPath`; Error `ERR_ACCESS_DENIED`, as from Node's own functions.
 */
export function checkPath(value: unknown, access: 'read' | 'write', name = 'path'): string {
  const text = checkText(value, name)
  // resolve() would drop the slash, and turn an intended directory into a file.
  if (text.endsWith('/')) throw invalidArgValue(`${name} must name a file, not a directory: '${text}'`)
  return absolute(text, access)
}

/** Like {@link checkPath}, for a file or directory to be read. */
export function checkPlace(value: unknown, name: string): string {
  return absolute(checkText(value, name), 'read')
}

/** Like {@link checkPath}, for a directory; a trailing slash is allowed. */
export function checkDirectory(value: unknown, access: 'read' | 'write', name: string): string {
  return absolute(checkText(value, name), access)
}

function checkText(value: unknown, name: string): string {
  const text = isUrl(value) ? fileURLToPath(value.href) : value
  if (typeof text !== 'string') throw invalidArgType(name, 'a string or a file: URL', value)
  if (text === '') throw invalidArgValue(`${name} must not be empty`)
  if (text.includes('\0')) throw invalidArgValue(`${name} must not contain NUL characters`)
  // A path with lone surrogates would become a file name other than the requested one.
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

/**
 * True for a URL of any realm, recognized by its shape, since `instanceof` knows only those of this
 * realm.
 */
function isUrl(value: unknown): value is URL {
  if (typeof value !== 'object' || value === null || types.isProxy(value)) return false
  const url = value as Partial<URL>
  return typeof url.href === 'string' && typeof url.protocol === 'string'
}
