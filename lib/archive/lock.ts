/**
 * Locks on files, which die with whoever holds them. The writer of an archive holds one for as long as it has the
 * archive open; whoever reads a frame holds one on each file of its chain, and the writer takes one before it removes
 * a file.
 */

import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import type { CallSite } from '../base/errors.js'
import { StillframeError } from '../base/errors.js'
import { fromFile } from '../files/durable-file.js'
import { type Locked, lockNow, tryLock } from '../files/file-lock.js'
import { lockName } from './names.js'

/** Takes the archive for writing. @throws StillframeError `ERR_STILLFRAME_BUSY` if somebody else has it. */
export async function lockForWriting(directory: string, callSite: CallSite): Promise<FileHandle> {
  const path = join(directory, lockName)
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
  const file = await open(path, flags, 0o600).catch((error: unknown) => {
    throw fromFile(error, path)
  })
  try {
    if (tryLock(file, path, 'exclusive', callSite)) return file
  } catch (error) {
    await file.close()
    throw error
  }
  await file.close()
  throw new StillframeError(
    'ERR_STILLFRAME_BUSY',
    `${path} is locked: another writer has this archive open, in this process or in another one. ` +
      'Close it there first, or open the archive with readOnly: true',
    { path },
  )
}

/** Locks a file for removing it, unless somebody reads it. It does not wait. */
export async function lockForRemoval(path: string): Promise<Locked> {
  // NFS gives such a lock only to those who may write.
  return await lockNow(path, constants.O_RDWR, 'exclusive')
}

/** How long the writer may be at a file that it is about to remove. */
const patienceMs = 10_000
const intervalMs = 5

/** Locks a file for reading it. The writer is waited for, since it takes its lock only for moments. */
export async function lockForReading(path: string): Promise<FileHandle | 'not there'> {
  const end = performance.now() + patienceMs
  for (;;) {
    const locked = await lockNow(path, constants.O_RDONLY, 'shared')
    if (locked !== 'held by another') return locked
    if (performance.now() > end) {
      throw new StillframeError(
        'ERR_STILLFRAME_BUSY',
        `${path}: the writer of the archive has been holding this file for ${patienceMs} ms. Look what it waits for`,
        { path },
      )
    }
    await setTimeout(intervalMs)
  }
}
