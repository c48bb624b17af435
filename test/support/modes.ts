/** Modes of files, on filesystems that have them. */

import { chmodSync } from 'node:fs'

/**
 * Sets the mode if the filesystem has modes; on FAT and similar filesystems, all files have the
 * mode of the mount.
 */
export function openToOthers(path: string, mode: number): void {
  try {
    chmodSync(path, mode)
  } catch (error) {
    if (!['EPERM', 'ENOSYS', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
