/**
 * Directories for what is on its way to or from a store, below one that others use too. Each goes with its use; what a process
 * that died has left goes when the next one is made in the same place.
 */

import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, mkdtemp, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { loadAddon } from '../addon/load.js'
import { fromFile } from '../files/durable-file.js'
import { lockNow, tryLock } from '../files/file-lock.js'

const prefix = 'stillframe-spool-'
/** Beside the directory that is used, so that it can have any names in it. */
const lockName = 'lock'
const filesName = 'files'

export interface Spool {
  readonly directory: string
  remove(): Promise<void>
}

/** @param parent - an existing directory. */
export async function makeSpool(parent: string): Promise<Spool> {
  // Where no lock can be taken nothing is made.
  loadAddon()
  await removeAbandoned(parent)
  try {
    const top = await mkdtemp(join(parent, prefix))
    const path = join(top, lockName)
    const lock = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
    // Nobody else has it: whoever finds it looks at it only when it is locked, or was.
    tryLock(lock, path, 'exclusive')
    const directory = join(top, filesName)
    await mkdir(directory, 0o700)
    return {
      directory,
      async remove() {
        await removeAll(top, lock)
      },
    }
  } catch (error) {
    throw fromFile(error, parent)
  }
}

/** Whoever uses one holds its lock. One without that lock may be somebody's who is about to take it. */
async function removeAbandoned(parent: string): Promise<void> {
  const names = await readdir(parent).catch(() => [])
  for (const name of names.filter((one) => one.startsWith(prefix))) {
    const directory = join(parent, name)
    // What another user has made there is not touched: it could be anything.
    const about = await lstat(directory).catch(() => undefined)
    if (about?.isDirectory() !== true || about.uid !== process.getuid?.()) continue
    const path = join(directory, lockName)
    const lock = await lockNow(path, constants.O_RDWR, 'exclusive').catch(() => 'not there' as const)
    if (typeof lock === 'string') continue
    await removeAll(directory, lock).catch(() => {})
  }
}

/** The lock is closed in any case. */
async function removeAll(top: string, lock: FileHandle): Promise<void> {
  try {
    await rm(join(top, filesName), { recursive: true, force: true })
    await rm(join(top, lockName), { force: true })
  } finally {
    await lock.close()
  }
  // FUSE and NFS keep a name for what was removed while it is open, FUSE for a moment longer.
  await rm(top, { recursive: true, force: true, maxRetries: 5 })
}
