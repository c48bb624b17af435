/**
 * Names of the files in the directory of an archive:
 *
 *   writer.lock      locked by the writer while it has the archive open
 *   archive.json     marks the directory as an archive, with its version
 *   upload.json      the parts of a frame that have been copied to a store already
 *   0000000012.sf    the memory of frame 12: an ordinary snapshot file
 *   0000000012.state output of its `state` callback
 *   0000000012.json  its manifest: the frame exists if and only if this file does
 *
 * Unfinished files have the suffix `.tmp`.
 */

import { join } from 'node:path'

export const lockName = 'writer.lock'
export const markName = 'archive.json'
export const journalName = 'upload.json'

/** How messages and traces refer to an archive in a store alone. */
export const storeName = 'the archive in the store'

/** The files of a frame. */
export type Part = 'memory' | 'state' | 'manifest'

const extensions = { memory: 'sf', state: 'state', manifest: 'json' } as const

/** Makes the order of names the order of numbers. */
const digits = 10

/** Path of one file of a frame. */
export function pathOf(directory: string, number: number, part: Part): string {
  return join(directory, `${String(number).padStart(digits, '0')}.${extensions[part]}`)
}

/** A parsed file name. */
export interface FrameFile {
  readonly number: number
  readonly part: Part
  readonly temporary: boolean
}

/** Undefined if the name is not that of a frame's file. */
export function parseName(name: string): FrameFile | undefined {
  const [, number, extension, suffix] = /^(\d{10,15})\.(sf|state|json)(\.tmp)?$/.exec(name) ?? []
  if (number === undefined) return undefined
  const part = extension === 'sf' ? 'memory' : extension === 'state' ? 'state' : 'manifest'
  return { number: Number(number), part, temporary: suffix !== undefined }
}

/**
 * True for files that native code creates where the filesystem does not support files without a
 * name.
 */
export function isNativeTemporary(name: string): boolean {
  return /^\.stillframe-[0-9a-f]{32}\.tmp$/.test(name)
}
