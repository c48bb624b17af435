/** Modes of files, where there are some. */

import { chmodSync } from 'node:fs'

/** Lets others in, as far as the filesystem has modes: on FAT and its like all files have that of the mount. */
export function openToOthers(path: string, mode: number): void {
  try {
    chmodSync(path, mode)
  } catch (error) {
    if (!['EPERM', 'ENOSYS', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
  }
}
