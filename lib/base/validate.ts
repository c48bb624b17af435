/**
 * Argument checks. Each returns the value with its type, or throws a `TypeError` or `RangeError`
 * with one of Node's codes. `name` is the argument's name in the message, such as `'options.mode'`.
 */

import { Buffer } from 'node:buffer'
import { toUSVString } from 'node:util'
import { invalidArgType, invalidArgValue, outOfRange } from './errors.js'

/**
 * An options object whose keys are known and whose values have not been checked yet. It inherits
 * nothing.
 */
export type UncheckedOptions<Key extends string> = { readonly [key in Key]?: unknown }

/**
 * Checks that `options` is an object (or undefined: all defaults) and has only the keys in `known`.
 * A misspelled option that is silently ignored is a wrong snapshot found a year later.
 *
 * @returns a copy of the own properties, which excludes anything that another package was tricked
 *   into writing to `Object.prototype`.
 */
export function checkOptions<Key extends string>(
  options: unknown,
  known: readonly Key[],
  name = 'options',
): UncheckedOptions<Key> {
  if (options === undefined) return ownProperties({})
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalidArgType(name, 'an object', options)
  }
  for (const key of Object.keys(options)) {
    if (!(known as readonly string[]).includes(key)) {
      throw invalidArgValue(`${name}.${key} is not a known option; known are ${known.join(', ')}`)
    }
  }
  return ownProperties(options)
}

/** A copy of the own properties, without a prototype. */
export function ownProperties<Value extends object>(value: Value): Value {
  return Object.assign(Object.create(null), value) as Value
}

/** A boolean; `otherwise` when undefined. */
export function checkBoolean(value: unknown, name: string, otherwise: boolean): boolean {
  if (value === undefined) return otherwise
  if (typeof value !== 'boolean') throw invalidArgType(name, 'a boolean', value)
  return value
}

/** An integer from `min` to `max`, inclusive. */
export function checkInteger(value: unknown, name: string, min: number, max: number): number {
  if (typeof value !== 'number') throw invalidArgType(name, 'a number', value)
  if (!Number.isInteger(value) || value < min || value > max) {
    throw outOfRange(name, `an integer from ${min} to ${max}`, value)
  }
  return value
}

/** Like {@link checkInteger}, but undefined stays undefined. */
export function optionalInteger(value: unknown, name: string, min: number, max: number): number | undefined {
  return value === undefined ? undefined : checkInteger(value, name, min, max)
}

/** One of a few strings. */
export function checkChoice<const Choice extends string>(
  value: unknown,
  name: string,
  choices: readonly Choice[],
): Choice {
  const choice = choices.find((candidate) => candidate === value)
  if (choice !== undefined) return choice
  const expected = `one of ${choices.map((each) => `'${each}'`).join(', ')}`
  if (typeof value !== 'string') throw invalidArgType(name, expected, value)
  throw invalidArgValue(`${name} must be ${expected}, not '${value}'`)
}

/** A function, or undefined. */
export function checkCallback<Callback extends (...args: never[]) => unknown>(
  value: unknown,
  name: string,
): Callback | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'function') throw invalidArgType(name, 'a function', value)
  return value as Callback
}

/** An `AbortSignal` (of any realm, or a faithful imitation), or undefined. */
export function checkSignal(value: unknown, name: string): AbortSignal | undefined {
  if (value === undefined) return undefined
  const signal = value as Partial<AbortSignal> | null
  const looksRight =
    typeof signal === 'object' &&
    signal !== null &&
    typeof signal.aborted === 'boolean' &&
    typeof signal.addEventListener === 'function' &&
    typeof signal.removeEventListener === 'function'
  if (!looksRight) throw invalidArgType(name, 'an AbortSignal', value)
  return value as AbortSignal
}

/** Maximum length of a section name in the file format, in bytes of UTF-8. */
export const maxNameBytes = 255

/**
 * The name of a section: 1 to 255 bytes of UTF-8 without NUL. Lone surrogates are refused, since
 * they have no UTF-8 encoding and two different names could become the same bytes in the file.
 */
export function checkSectionName(value: unknown, name: string): string {
  if (typeof value !== 'string') throw invalidArgType(name, 'a string', value)
  if (value === '') throw invalidArgValue(`${name} must not be empty`)
  if (value.includes('\0')) throw invalidArgValue(`${name} must not contain NUL characters`)
  if (!isWellFormed(value)) throw invalidArgValue(`${name} must not contain lone surrogates`)
  const bytes = Buffer.byteLength(value)
  if (bytes > maxNameBytes) {
    throw invalidArgValue(`${name} must have at most ${maxNameBytes} bytes of UTF-8, not ${bytes}`)
  }
  return value
}

/** True if the string has no lone surrogates, so that UTF-8 can express it. */
export function isWellFormed(text: string): boolean {
  return toUSVString(text) === text
}
