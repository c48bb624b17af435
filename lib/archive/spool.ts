/**
 * Directories for what is on its way to a store, below one that others use too. They go with the archive; what a process that
 * died has left goes when the next archive is opened in the same place.
 */

import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { fromFile } from '../files/durable-file.js'
import { lockForRemoval } from './lock.js'
import { lockName } from './names.js'

const prefix = 'stillframe-spool-'

export interface Spool {
  readonly directory: string
  remove(): Promise<void>
}

/** @param parent - an existing directory. */
export async function makeSpool(parent: string): Promise<Spool> {
  await removeAbandoned(parent)
  const directory = await mkdtemp(join(parent, prefix)).catch((error: unknown) => {
    throw fromFile(error, parent)
  })
  return {
    directory,
    async remove() {
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** Whoever uses one holds the lock of the archive in it. One without that lock may be somebody's who is about to take it. */
async function removeAbandoned(parent: string): Promise<void> {
  const names = await readdir(parent).catch(() => [])
  for (const name of names.filter((one) => one.startsWith(prefix))) {
    const directory = join(parent, name)
    // What another user has made there is not touched: it could be anything.
    const about = await lstat(directory).catch(() => undefined)
    if (about?.isDirectory() !== true || about.uid !== process.getuid?.()) continue
    const lock = await lockForRemoval(join(directory, lockName)).catch(() => 'not there' as const)
    if (typeof lock === 'string') continue
    await rm(directory, { recursive: true, force: true }).catch(() => {})
    await lock.close()
  }
}
