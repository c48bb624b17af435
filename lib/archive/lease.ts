/**
 * A reader's hold on the files of a frame. It lasts from the plan to read them until they have been
 * read; nothing removes them meanwhile.
 */

import type { FileHandle } from 'node:fs/promises'
import { stat } from 'node:fs/promises'
import { lockForReading } from './lock.js'

export class Lease {
  #files: FileHandle[] | undefined

  /** @param files - open and locked. */
  constructor(files: FileHandle[]) {
    this.#files = files
  }

  /** The file of the path at this index. */
  file(index: number): FileHandle {
    return this.#files?.[index] as FileHandle
  }

  /** Unlocks the files. Never rejects. */
  async release(): Promise<void> {
    const files = this.#files ?? []
    this.#files = undefined
    await Promise.allSettled(files.map((file) => file.close()))
  }
}

/** A planned file that is missing or has been replaced. */
export interface Lost {
  readonly lost: string
}

/** Locks all of the files or none. */
export async function takeLease(paths: readonly string[]): Promise<Lease | Lost> {
  const files: FileHandle[] = []
  const lease = new Lease(files)
  try {
    for (const path of paths) {
      const file = await lockForReading(path)
      if (file !== 'not there') files.push(file)
      // The file may have been removed, or replaced by a compacted one, before it was locked.
      if (file === 'not there' || !(await stillHas(path, file))) {
        await lease.release()
        return { lost: path }
      }
    }
    return lease
  } catch (error) {
    await lease.release()
    throw error
  }
}

async function stillHas(path: string, file: FileHandle): Promise<boolean> {
  const [now, opened] = await Promise.all([stat(path).catch(() => undefined), file.stat()])
  return now !== undefined && now.dev === opened.dev && now.ino === opened.ino
}
