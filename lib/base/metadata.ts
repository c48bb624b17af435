/** The caller's own data in a snapshot file: JSON, captured at the same instant as the memory. */

import { Buffer } from 'node:buffer'
import { invalidArgType, invalidArgValue, messageOf, StillframeError } from './errors.js'

/** Anything that JSON can express. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined }

/**
 * `Meta` if JSON can express all of it, and otherwise a type that no value fits. An interface is
 * not a {@link JsonValue}, since it may be extended elsewhere, so its members are checked one by
 * one.
 */
export type JsonOf<Meta> = Meta extends JsonValue | undefined
  ? Meta
  : Meta extends { toJSON(): infer Said }
    ? Said extends JsonOf<Said>
      ? Meta
      : never
    : Meta extends (...args: never[]) => unknown
      ? never
      : Meta extends object
        ? { [Key in keyof Meta]: JsonOf<Meta[Key]> }
        : never

/** Maximum size of the metadata in a file, in bytes of UTF-8 (docs/FORMAT.md). */
export const maxMetadataBytes = 64 * 1024 * 1024
/**
 * Maximum number of values in the metadata, and maximum nesting depth: as much as a reader accepts
 * without being blocked for long.
 */
export const maxMetadataValues = 250_000
export const maxMetadataDepth = 1000

/**
 * The text to store, serialized at the call, so that later changes to the object are not in the
 * file. `undefined` (no metadata) stays undefined. As with `JSON.stringify`, members that are
 * functions or undefined are omitted, and NaN becomes null.
 *
 * @throws TypeError if JSON cannot express the value (cycles, BigInt, a function), or if it exceeds
 *   the limits.
 */
export function encodeMetadata(value: unknown): string | undefined {
  if (value === undefined) return undefined
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (error) {
    const reason = messageOf(error).split('\n')[0]
    throw invalidArgValue(`options.metadata cannot be written as JSON: ${reason}`, error)
  }
  // Functions, symbols, and objects whose toJSON() returns one of these or undefined.
  if (text === undefined) throw invalidArgType('options.metadata', 'a value that JSON can express', value)
  const bytes = Buffer.byteLength(text)
  if (bytes > maxMetadataBytes) {
    throw invalidArgValue(
      `options.metadata must have at most ${maxMetadataBytes} bytes as JSON, not ${bytes}`,
    )
  }
  const { values, depth } = measureJson(text)
  if (values > maxMetadataValues) {
    throw invalidArgValue(
      `options.metadata must hold at most ${maxMetadataValues} values, not ${values}. Keep bulk data in a source`,
    )
  }
  if (depth > maxMetadataDepth) {
    throw invalidArgValue(`options.metadata must be nested at most ${maxMetadataDepth} deep, not ${depth}`)
  }
  return text
}

/**
 * Counts values and depth as native readers do (native/image/json_extent.h). It returns numbers
 * even for text that is not JSON.
 */
export function measureJson(text: string): { values: number; depth: number } {
  let values = text === '' ? 0 : 1
  let depth = 0
  let deepest = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (inString) {
      if (c === '\\') i++
      else if (c === '"') inString = false
    } else if (c === '"') {
      inString = true
    } else if (c === '[' || c === '{') {
      values++
      deepest = Math.max(deepest, ++depth)
    } else if (c === ']' || c === '}') {
      if (depth > 0) depth--
    } else if (c === ',') {
      values++
    }
  }
  return { values, depth: deepest }
}

/** Parses the text that {@link encodeMetadata} made; undefined if there was none. */
export function decodeMetadata(text: string | undefined, path: string): JsonValue | undefined {
  if (text === undefined) return undefined
  try {
    return JSON.parse(text) as JsonValue
  } catch (cause) {
    // The checksum matched, so another program must have written text that is not JSON.
    const message = `${path}: the metadata is not JSON. Another program must have written this file.`
    throw new StillframeError('ERR_STILLFRAME_CORRUPT', message, { path, cause })
  }
}
