/** Reads a heap summary that a service has written with `writeHeapSummary()` or a memory watch. */

import { Buffer } from 'node:buffer'
import { type FileHandle, open } from 'node:fs/promises'
import { fromSystem, StillframeError } from '../base/errors.js'
import { checkPath } from '../base/path.js'
import type { HeapSummary } from './summary.js'

const beginning = '{"format":"stillframe-heap-summary"'
/** Maximum size of a summary. One with 5,000 classes of 100 characters takes at most 3 MB. */
const mostBytes = 64 << 20

/** Returns undefined if the file does not begin like a summary. @throws StillframeError */
export async function readWrittenSummary(path: string): Promise<HeapSummary | undefined> {
  const absolute = checkPath(path, 'read')
  const summary = await read(absolute).catch((error: unknown) => {
    throw fromSystem(error, absolute)
  })
  if (summary === undefined || isHeapSummary(summary)) return summary
  const message = `${absolute}: a damaged heap summary: truncated, altered, or written by a later version`
  throw new StillframeError('ERR_STILLFRAME_CORRUPT', message, { path: absolute })
}

/** Returns the parsed contents, unchecked; null if they are not JSON or too long. */
async function read(path: string): Promise<unknown> {
  const file = await open(path)
  try {
    const stat = await file.stat()
    if (!stat.isFile() || (await startOf(file)) !== beginning) return undefined
    return stat.size > mostBytes ? null : parse(await file.readFile('utf8'))
  } finally {
    await file.close()
  }
}

async function startOf(file: FileHandle): Promise<string> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(beginning.length), 0, beginning.length, 0)
  return buffer.subarray(0, bytesRead).toString('latin1')
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return null
  }
}

type Check = (value: unknown) => boolean

const text: Check = (value) => typeof value === 'string'
const number: Check = (value) => typeof value === 'number'
const flag: Check = (value) => typeof value === 'boolean'
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value)
const list =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check)
const record =
  (members: Record<string, Check>): Check =>
  (value) =>
    typeof value === 'object' &&
    value !== null &&
    Object.entries(members).every(([name, check]) => check((value as Record<string, unknown>)[name]))

const objects = { count: number, shallowBytes: number }

/** Checks the members of a summary that reports show. */
const isSummary = record({
  version: (value) => value === 1,
  node: text,
  v8: text,
  pid: number,
  thread: number,
  time: text,
  trigger: text,
  complete: flag,
  reason: optional(text),
  heap: record({ usedBytes: number, limitBytes: number, externalBytes: number }),
  contexts: record({ native: number, detached: number }),
  spaces: list(record({ name: text, usedBytes: number, totalBytes: number })),
  objects: optional(record(objects)),
  strings: optional(
    record({ largest: list(record({ bytes: number, length: number, start: optional(text) })) }),
  ),
  buffers: optional(record({ count: number, bytes: number, largest: list(record({ bytes: number })) })),
  classes: optional(list(record({ ...objects, name: text, type: text }))),
  others: optional(record(objects)),
})

function isHeapSummary(value: unknown): value is HeapSummary {
  return isSummary(value)
}
