/**
 * What has been uploaded of a frame that is not in the store yet: `upload.json` in the directory of the archive. After a crash the
 * upload goes on where it was.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { removeFile, replaceFile } from '../files/durable-file.js'
import { decodeChecked, encodeChecked } from './checked-json.js'
import { journalName } from './names.js'
import type { StoredPart } from './remote/index.js'

/** By id of the frame. */
interface Journal {
  readonly parts: Record<string, StoredPart[]>
}

export class UploadJournal {
  readonly #path: string
  #parts: Journal['parts'] = {}

  private constructor(path: string) {
    this.#path = path
  }

  /** One that cannot be read is as good as none: then all is uploaded again. */
  static async read(directory: string): Promise<UploadJournal> {
    const journal = new UploadJournal(join(directory, journalName))
    try {
      const { parts } = decodeChecked(await readFile(journal.#path, 'utf8')) as Journal
      journal.#parts = parts
    } catch {}
    return journal
  }

  partsOf(frameId: string): readonly StoredPart[] {
    return this.#parts[frameId] ?? []
  }

  async add(frameId: string, part: StoredPart): Promise<void> {
    this.#parts[frameId] = [...this.partsOf(frameId), part]
    await replaceFile(this.#path, encodeChecked({ parts: this.#parts }))
  }

  /** The frame is in the store, or no longer wanted there. */
  async clear(): Promise<void> {
    if (Object.keys(this.#parts).length === 0) return
    this.#parts = {}
    await removeFile(this.#path)
  }
}
