/**
 * File locks, which end with the process that holds them. The writer holds one while it has the
 * archive open. A reader of a frame holds one on each file of its chain, and the writer takes one
 * before it retires or removes a frame.
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

/**
 * Locks the archive for writing. @throws StillframeError `ERR_STILLFRAME_BUSY` if another writer
 * has it open.
 */
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

/** Locks a file for removal, unless it is being read. Does not wait. */
export async function lockForRemoval(path: string): Promise<Locked> {
  // NFS grants an exclusive lock only on a file that is open for writing.
  return await lockNow(path, constants.O_RDWR, 'exclusive')
}

/** How long a reader waits while the writer holds a file that it is about to remove. */
const patienceMs = 10_000
const intervalMs = 5

/** Locks a file for reading. Waits for the writer, which holds its lock only for moments. */
export async function lockForReading(path: string): Promise<FileHandle | 'not there'> {
  const end = performance.now() + patienceMs
  for (;;) {
    const locked = await lockNow(path, constants.O_RDONLY, 'shared')
    if (locked !== 'held by another') return locked
    if (performance.now() > end) {
      throw new StillframeError(
        'ERR_STILLFRAME_BUSY',
        `${path}: the writer of the archive has held this file for ${patienceMs} ms. Check what it is ` +
          'waiting for',
        { path },
      )
    }
    await setTimeout(intervalMs)
  }
}
