/**
 * Files of values, written by `snapshotState()`: the commands recognize them and can read them,
 * too.
 */

import { Buffer } from 'node:buffer'
import { type FileHandle, open } from 'node:fs/promises'
import { encodeEnd, readValues } from '../values/values.js'
import { CommandError, isStillframeError } from './command.js'

/** Summary of a file of values. */
export interface ValuesInfo {
  kind: 'values'
  fileSize: number
  /** Number of values; undefined if the end of the file is missing or damaged. */
  values: number | undefined
}

/** A problem in a file of values. */
export interface ValuesProblem {
  offset?: number
  reason: string
}

const magic = 'SFV1'
const endLength = 16

/** Reads the beginning and the end of a file; returns undefined if it is not a file of values. */
export async function inspectValues(path: string): Promise<ValuesInfo | undefined> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    if ((await bytesAt(file, 0, magic.length)).toString('latin1') !== magic) return undefined
    const end = await bytesAt(file, Math.max(0, size - endLength), endLength)
    return { kind: 'values', fileSize: size, values: countIn(end) }
  } finally {
    await file.close()
  }
}

/**
 * Throws the error of a command that reads only snapshots, reworded if the file is a file of
 * values.
 */
export async function explainValues(path: string, error: unknown): Promise<never> {
  if (!isStillframeError(error, 'FORMAT') || (await inspectValues(path)) === undefined) throw error
  throw new CommandError(`${path} is a file of values and has no sections. Read it with readValues()`)
}

/** Reads every value and its checksum; returns undefined if all are intact. */
export async function checkValues(path: string, signal: AbortSignal): Promise<ValuesProblem | undefined> {
  try {
    for await (const _ of readValues(path)) signal.throwIfAborted()
    return undefined
  } catch (error) {
    if (!isStillframeError(error, 'CORRUPT')) throw error
    const { offset, message } = error
    return { ...(offset !== undefined && { offset }), reason: message.replace(`${path}: `, '') }
  }
}

function countIn(end: Buffer): number | undefined {
  if (end.length < endLength) return undefined
  const count = Number(end.readBigUInt64LE(8))
  return Number.isSafeInteger(count) && end.equals(encodeEnd(count)) ? count : undefined
}

async function bytesAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, position)
  return buffer.subarray(0, bytesRead)
}
