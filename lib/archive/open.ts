/** Opens the directory of an archive, and cleans up after a writer that died. */

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

/** The state that a writer starts from. */
export interface OpenedForWriting {
  /** Holds the lock while it is open, until the archive is closed. */
  readonly lock: FileHandle
  readonly table: FrameTable
  /** Number of the next frame. */
  readonly nextNumber: number
}

/**
 * Creates the directory if there is none, takes the lock, and removes the leftovers of an earlier
 * writer.
 */
export async function openForWriting(
  directory: string,
  mark: Mark,
  callSite: CallSite,
): Promise<OpenedForWriting> {
  // Fail before creating anything where the addon, and thus the lock, is unavailable.
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
    // Frames that turned out to be compacted no longer need their parents.
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

/** Creates only the last component of the path, so that a disk that is not mounted gets noticed. */
async function makeDirectory(directory: string): Promise<void> {
  try {
    await mkdir(directory, 0o700)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return
    throw fromFile(error, directory)
  }
  await syncName(directory)
}

/** Foreign files with names of frames would be removed as leftovers. */
function refuseForeign(directory: string, { highest }: Listing): void {
  if (highest === 0) return
  throw new StillframeError(
    'ERR_STILLFRAME_FORMAT',
    `${directory}: there are files that are named like frames, but no ${markName}, which every archive ` +
      `has. Choose another directory, or write {"stillframeArchive":1} to ${markName} if this is an archive`,
    { path: directory },
  )
}

/**
 * Files without a manifest belong to a frame that was never completed, or was removed in part. If
 * the manifest was lost instead, a memory file on which another frame builds stays.
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
    // A native temporary may belong to an unrelated snapshot that is still being written here.
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
 * A writer may have died after it put a compacted file in place and before it updated the manifest.
 * The file is right.
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
