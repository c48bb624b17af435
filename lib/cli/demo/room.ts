/** Chooses the amount of memory for the demo, within the memory and the disk space available. */

import { join } from 'node:path'
import { preflight, Region } from '../../index.js'
import { CommandError } from '../command.js'
import type { FileSystem } from '../machine.js'
import { formatBytes } from '../units.js'
import { pageBytes } from './memory.js'

/**
 * Less memory would be saved too quickly for meaningful figures, and every machine has this much.
 */
export const smallestBytes = 2 ** 20
/**
 * The region, the oracle and one more: the naive copy, a restored copy, or the worst case of
 * copy-on-write.
 */
export const copiesInMemory = 3
/** Left to Node, the kernel and other processes. */
const spareBytes = 2 ** 28

/** The amount of memory to save, and why it is less than requested. */
export interface Room {
  bytes: number
  /** Undefined if there is room for the full request. */
  shortage: string | undefined
}

/**
 * The requested amount, or as much as there is room for.
 *
 * @param files - number of files of that size that exist on `disk` at the same time.
 * @throws CommandError if there is room for next to nothing.
 */
export async function findRoom(
  wantedBytes: number,
  files: number,
  directory: string,
  disk: FileSystem,
): Promise<Room> {
  using probe = Region.allocate(pageBytes)
  const { availableBytes, freeDiskBytes } = await preflight(probe, join(directory, 'probe'))
  // Files on a filesystem in memory compete with the copies.
  const copies = copiesInMemory + (disk.inMemory ? files : 0)
  const byMemory = Math.max(0, availableBytes - spareBytes) / copies
  const byDisk = Math.max(0, freeDiskBytes - spareBytes) / files
  const bytes = wholePages(Math.min(wantedBytes, byMemory, byDisk))

  const memory = `${formatBytes(availableBytes)} of memory is available`
  const space = `${formatBytes(freeDiskBytes)} is free on disk`
  if (bytes < smallestBytes) {
    throw new CommandError(
      `there is not enough room: ${byMemory < byDisk ? memory : `${space}; choose another with --dir`}`,
    )
  }
  if (bytes === wholePages(wantedBytes)) return { bytes, shortage: undefined }
  const shortage =
    byMemory < byDisk
      ? `the demo needs ${copies} times that much, and only ${memory}`
      : `the demo writes ${files === 1 ? 'a file' : `${files} files`} of that size, and only ${space}`
  return { bytes, shortage }
}

/** The demo's service changes only whole pages. */
function wholePages(bytes: number): number {
  return Math.floor(bytes / pageBytes) * pageBytes
}
