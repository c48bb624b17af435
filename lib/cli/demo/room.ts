/** How much memory the demo can take here: memory and disk must have room for it. */

import { join } from 'node:path'
import { preflight, Region } from '../../index.js'
import { CommandError } from '../command.js'
import type { FileSystem } from '../machine.js'
import { formatBytes } from '../units.js'
import { pageBytes } from './memory.js'

/**
 * Smaller memory is saved too quickly for any figure to mean much, and every machine has this much.
 */
export const smallestBytes = 2 ** 20
/**
 * The region, the oracle and one more: the naive copy, a restored copy, or copy-on-write at its
 * worst.
 */
export const copiesInMemory = 3
/** Left to Node, the kernel and everybody else. */
const spareBytes = 2 ** 28

/** How much memory is saved, and why it is less than asked for. */
export interface Room {
  bytes: number
  /** Undefined when there is room for all that was asked for. */
  shortage: string | undefined
}

/**
 * As much as is wanted, or as much as there is room for.
 *
 * @param files - how many files of that size lie on `disk` at the same time.
 * @throws CommandError when there is room for next to nothing.
 */
export async function findRoom(
  wantedBytes: number,
  files: number,
  directory: string,
  disk: FileSystem,
): Promise<Room> {
  using probe = Region.allocate(pageBytes)
  const { availableBytes, freeDiskBytes } = await preflight(probe, join(directory, 'probe'))
  // Files on a filesystem in memory take what the copies need.
  const copies = copiesInMemory + (disk.inMemory ? files : 0)
  const byMemory = Math.max(0, availableBytes - spareBytes) / copies
  const byDisk = Math.max(0, freeDiskBytes - spareBytes) / files
  const bytes = wholePages(Math.min(wantedBytes, byMemory, byDisk))

  const memory = `${formatBytes(availableBytes)} of memory are available`
  const space = `${formatBytes(freeDiskBytes)} are free on the disk`
  if (bytes < smallestBytes) {
    throw new CommandError(
      `there is no room: ${byMemory < byDisk ? memory : `${space}; choose another with --dir`}`,
    )
  }
  if (bytes === wholePages(wantedBytes)) return { bytes, shortage: undefined }
  const shortage =
    byMemory < byDisk
      ? `the demo needs ${copies} times that, and ${memory}`
      : `the demo writes ${files === 1 ? 'a file' : `${files} files`} of that size, and ${space}`
  return { bytes, shortage }
}

/** The demo's service changes whole pages only. */
function wholePages(bytes: number): number {
  return Math.floor(bytes / pageBytes) * pageBytes
}
