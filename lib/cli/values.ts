/**
 * Files of values, which `snapshotState()` writes: the commands tell them from snapshots, and look
 * into them as well.
 */

import { Buffer } from 'node:buffer'
import { type FileHandle, open } from 'node:fs/promises'
import { encodeEnd, readValues } from '../values/values.js'
import { CommandError, isStillframeError } from './command.js'

/** What a file of values says of itself. */
export interface ValuesInfo {
  kind: 'values'
  fileSize: number
  /** How many it holds; undefined when its end is missing or damaged. */
  values: number | undefined
}

/** What is wrong with one. */
export interface ValuesProblem {
  offset?: number
  reason: string
}

const magic = 'SFV1'
const endLength = 16

/** Reads the beginning and the end of a file; undefined when it is no file of values. */
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
 * Throws the error of a command that reads snapshots only; of a file of values it says that it is
 * one.
 */
export async function explainValues(path: string, error: unknown): Promise<never> {
  if (!isStillframeError(error, 'FORMAT') || (await inspectValues(path)) === undefined) throw error
  throw new CommandError(`${path} is a file of values and has no sections. Read it with readValues()`)
}

/** Reads every value and its checksum; undefined when all is well. */
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
