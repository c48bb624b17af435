/**
 * The names in the directory of an archive:
 *
 *   writer.lock      locked by the writer for as long as it has the archive open
 *   archive.json     says that this is an archive, and of which version
 *   upload.json      what of a frame has been copied to a store already
 *   0000000012.sf    the memory of frame 12: an ordinary snapshot file
 *   0000000012.state what its `state` callback wrote
 *   0000000012.json  its manifest: the frame is there when this is there
 *
 * What is being written has `.tmp` behind its name.
 */

import { join } from 'node:path'

export const lockName = 'writer.lock'
export const markName = 'archive.json'
export const journalName = 'upload.json'

/** How an archive that is in no directory is called, in messages and by those who look on. */
export const storeName = 'the archive in the store'

/** What a file is of its frame. */
export type Part = 'memory' | 'state' | 'manifest'

const extensions = { memory: 'sf', state: 'state', manifest: 'json' } as const

/** So that a listing in the order of names is one in the order of numbers. */
const digits = 10

/** Path of a file of a frame. */
export function pathOf(directory: string, number: number, part: Part): string {
  return join(directory, `${String(number).padStart(digits, '0')}.${extensions[part]}`)
}

/** What a name stands for. */
export interface FrameFile {
  readonly number: number
  readonly part: Part
  readonly temporary: boolean
}

/** Undefined: not the name of a file of a frame. */
export function parseName(name: string): FrameFile | undefined {
  const [, number, extension, suffix] = /^(\d{10,15})\.(sf|state|json)(\.tmp)?$/.exec(name) ?? []
  if (number === undefined) return undefined
  const part = extension === 'sf' ? 'memory' : extension === 'state' ? 'state' : 'manifest'
  return { number: Number(number), part, temporary: suffix !== undefined }
}

/** What native code calls files without a name yet, where the filesystem cannot do without one. */
export function isNativeTemporary(name: string): boolean {
  return /^\.stillframe-[0-9a-f]{32}\.tmp$/.test(name)
}
