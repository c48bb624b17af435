/**
 * Temporary directories for files in transit to and from a store, below a directory that others use
 * too. Each is removed after use. Those of a process that died are removed when the next one is
 * created in the same place.
 */

import { constants } from 'node:fs'
import { type FileHandle, lstat, mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { loadAddon } from '../addon/load.js'
import { fromFile } from '../files/durable-file.js'
import { lockNow, tryLock } from '../files/file-lock.js'

const prefix = 'stillframe-spool-'
/** Next to the directory for files, not in it, so that files can have any name. */
const lockName = 'lock'
const filesName = 'files'

export interface Spool {
  readonly directory: string
  remove(): Promise<void>
}

/** @param parent - an existing directory. */
export async function makeSpool(parent: string): Promise<Spool> {
  // Fail before creating anything where the addon, and thus the lock, is unavailable.
  loadAddon()
  await removeAbandoned(parent)
  try {
    const top = await mkdtemp(join(parent, prefix))
    const path = join(top, lockName)
    // It gets its name once it is locked: an unlocked one would mark the directory as abandoned.
    const unnamed = `${path}.new`
    const lock = await open(unnamed, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, 0o600)
    tryLock(lock, unnamed, 'exclusive')
    await rename(unnamed, path)
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

/** A spool in use is locked. A spool without a lock file may be one that is just being created. */
async function removeAbandoned(parent: string): Promise<void> {
  const names = await readdir(parent).catch(() => [])
  for (const name of names.filter((one) => one.startsWith(prefix))) {
    const directory = join(parent, name)
    // Leave directories of other users alone: they could be anything.
    const about = await lstat(directory).catch(() => undefined)
    if (about?.isDirectory() !== true || about.uid !== process.getuid?.()) continue
    const path = join(directory, lockName)
    const lock = await lockNow(path, constants.O_RDWR, 'exclusive').catch(() => 'not there' as const)
    if (typeof lock === 'string') continue
    await removeAll(directory, lock).catch(() => {})
  }
}

/** Always closes the lock. */
async function removeAll(top: string, lock: FileHandle): Promise<void> {
  try {
    await rm(join(top, filesName), { recursive: true, force: true })
    await rm(join(top, lockName), { force: true })
  } finally {
    await lock.close()
  }
  // FUSE and NFS keep a name for a removed file while it is open, FUSE a moment longer.
  await rm(top, { recursive: true, force: true, maxRetries: 5 })
}
