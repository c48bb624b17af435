/**
 * A reader's hold on the files of a frame: from when it has planned to read them until it has. Nobody removes them
 * meanwhile.
 */

import type { FileHandle } from 'node:fs/promises'
import { stat } from 'node:fs/promises'
import { lockForReading } from './lock.js'

export class Lease {
  #files: FileHandle[] | undefined

  /** @param files - each locked. */
  constructor(files: FileHandle[]) {
    this.#files = files
  }

  /** The file that was named in this place. */
  file(index: number): FileHandle {
    return this.#files?.[index] as FileHandle
  }

  /** Gives the files free. It never rejects. */
  async release(): Promise<void> {
    const files = this.#files ?? []
    this.#files = undefined
    await Promise.allSettled(files.map((file) => file.close()))
  }
}

/** A file that was planned with and is not there, or is another one by now. */
export interface Lost {
  readonly lost: string
}

/** Locks all of the files, or none. */
export async function takeLease(paths: readonly string[]): Promise<Lease | Lost> {
  const files: FileHandle[] = []
  const lease = new Lease(files)
  try {
    for (const path of paths) {
      const file = await lockForReading(path)
      if (file !== 'not there') files.push(file)
      // Between the opening and the lock it may have been removed, or replaced by a compacted one.
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
