/** Opening the directory of an archive, and putting it in order after a writer that died. */

import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, open } from 'node:fs/promises'
import { join } from 'node:path'
import { loadAddon } from '../addon/load.js'
import { type CallSite, StillframeError } from '../base/errors.js'
import {
  fromFile,
  removeFile,
  replaceFile,
  syncDirectory,
  syncName,
  temporarySuffix,
} from '../files/durable-file.js'
import { inspect } from '../restore/inspect.js'
import { type FrameTable, isKnown } from './frame-table.js'
import { type Listing, listDirectory, readFrames } from './listing.js'
import { lockForWriting } from './lock.js'
import { asCompacted, encodeManifest } from './manifest.js'
import { isSameMark, type Mark, readMark, writeMark } from './mark.js'
import { isNativeTemporary, journalName, markName, pathOf } from './names.js'
import { removeRetired } from './prune.js'

/** What a writer begins with. */
export interface OpenedForWriting {
  /** Open for as long as the archive is: it holds the lock. */
  readonly lock: FileHandle
  readonly table: FrameTable
  /** Of the next frame. */
  readonly nextNumber: number
}

/** Makes the directory if there is none, takes the lock, and removes what an earlier writer has left half-made. */
export async function openForWriting(
  directory: string,
  mark: Mark,
  callSite: CallSite,
): Promise<OpenedForWriting> {
  // Where no lock can be taken nothing is made.
  loadAddon()
  await makeDirectory(directory)
  const lock = await lockForWriting(directory, callSite)
  try {
    const listing = await listDirectory(directory)
    const found = await readMark(directory)
    if (found === undefined) refuseForeign(directory, listing)
    if (found === undefined || !isSameMark(found, mark)) await writeMark(directory, mark)
    const table = await readFrames(directory, listing.manifests)
    await believeFiles(directory, table)
    // What only these have built on is a leftover then.
    await removeRetired(directory, table)
    await removeLeftovers(directory, listing, table)
    return { lock, table, nextNumber: listing.highest + 1 }
  } catch (error) {
    await lock.close()
    throw error
  }
}

/** @throws StillframeError `ERR_STILLFRAME_NOT_FOUND` if there is no archive. */
export async function openForReading(directory: string): Promise<Mark> {
  await listDirectory(directory)
  const mark = await readMark(directory)
  if (mark !== undefined) return mark
  throw new StillframeError(
    'ERR_STILLFRAME_NOT_FOUND',
    `${directory}: there is no archive here: it has no ${markName}. Check the path`,
    { path: directory },
  )
}

/** Only the last part of the path: a disk that is not mounted should be noticed. */
async function makeDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, 0o700)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw fromFile(error, directory)
  }
  await syncName(directory)
}

/** Files that only look like those of an archive would be removed as leftovers. */
function refuseForeign(directory: string, { highest }: Listing): void {
  if (highest === 0) return
  throw new StillframeError(
    'ERR_STILLFRAME_FORMAT',
    `${directory}: there are files with names of frames, but no ${markName}, which every archive has. Choose another ` +
      `directory, or write {"stillframeArchive":1} to ${markName} if this is an archive`,
    { path: directory },
  )
}

/**
 * What has no manifest was never complete, or is what is left of a frame that was given up. Or its manifest was lost: then
 * the memory that another frame builds on stays.
 */
async function removeLeftovers(directory: string, listing: Listing, table: FrameTable): Promise<void> {
  const complete = new Set(listing.manifests)
  const chains = table
    .all()
    .filter(isKnown)
    .map((entry) => table.chainOf(entry))
  const missing = new Set(chains.flatMap((chain) => chain.missing ?? []))
  for (const number of listing.memories) {
    if (complete.has(number)) continue
    const path = pathOf(directory, number, 'memory')
    const info = missing.size > 0 ? await inspect(path).catch(() => undefined) : undefined
    if (info === undefined || !missing.has(info.id)) await removeFile(path)
  }
  for (const number of listing.states) {
    if (!complete.has(number)) await removeFile(pathOf(directory, number, 'state'))
  }
  for (const name of listing.temporaries) {
    const path = join(directory, name)
    // A snapshot of somebody else, which has nothing to do with the archive, may be under way here.
    if (!isNativeTemporary(name) || (await isAbandoned(path))) await removeFile(path)
  }
  for (const name of [markName, journalName]) await removeFile(join(directory, name + temporarySuffix))
}

async function isAbandoned(path: string): Promise<boolean> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    () => undefined,
  )
  if (file === undefined) return false
  try {
    return loadAddon().flock(file.fd, 'exclusive')
  } catch {
    return false
  } finally {
    await file.close()
  }
}

/**
 * A writer that died while it put a compacted file into the place of a delta has not told its manifest. The file is right.
 */
async function believeFiles(directory: string, table: FrameTable): Promise<void> {
  for (const entry of table.all().filter(isKnown)) {
    const { manifest, number } = entry
    if (manifest.parentId === undefined || entry.damage !== undefined) continue
    const path = pathOf(directory, number, 'memory')
    const size = await sizeOf(path)
    if (size === undefined || size === manifest.fileSize) continue
    const info = await inspect(path).catch(() => undefined)
    if (info === undefined || info.id !== manifest.id || info.parentId !== undefined) continue
    const { fileSize, allocatedBytes } = info
    const full = asCompacted(manifest, { fileSize, allocatedBytes })
    await replaceFile(pathOf(directory, number, 'manifest'), encodeManifest(full))
    table.put({ number, manifest: full })
  }
  await syncDirectory(directory)
}

async function sizeOf(path: string): Promise<number | undefined> {
  const stats = await lstat(path).catch(() => undefined)
  return stats?.isFile() ? stats.size : undefined
}
