/** Locks on files, by `flock(2)`: they are released when their holder ends. */

import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { loadAddon } from '../addon/load.js'
import { type CallSite, fromNative } from '../base/errors.js'
import { fromFile } from './durable-file.js'

export type LockKind = 'shared' | 'exclusive'

/** Outcome: the file, which stays locked as long as it is open, or the reason why there is none. */
export type Locked = FileHandle | 'held by another' | 'not there'

/** Opens an existing file and locks it, without waiting. */
export async function lockNow(path: string, flags: number, kind: LockKind): Promise<Locked> {
  let file: FileHandle
  try {
    file = await open(path, flags | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 'not there'
    throw fromFile(error, path)
  }
  try {
    if (tryLock(file, path, kind)) return file
  } catch (error) {
    await file.close()
    throw error
  }
  await file.close()
  return 'held by another'
}

/**
 * Locks an open file for as long as it is open, without waiting.
 *
 * @returns false if another holder has an incompatible lock.
 */
export function tryLock(file: FileHandle, path: string, kind: LockKind, callSite?: CallSite): boolean {
  try {
    return loadAddon().flock(file.fd, kind)
  } catch (error) {
    throw fromNative(error, path, callSite ?? tryLock)
  }
}
