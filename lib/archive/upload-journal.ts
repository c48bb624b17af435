/**
 * Journal of an upload in progress: `upload.json` in the directory of the archive lists the parts
 * of a frame that have been uploaded before the frame is in the store. After a crash the upload
 * continues from there.
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { removeFile, replaceFile } from '../files/durable-file.js'
import { decodeChecked, encodeChecked } from './checked-json.js'
import { journalName } from './names.js'
import type { StoredPart } from './remote/index.js'

/** Uploaded parts by id of the frame. */
interface Journal {
  readonly parts: Record<string, StoredPart[]>
}

export class UploadJournal {
  readonly #path: string
  #parts: Journal['parts'] = {}

  private constructor(path: string) {
    this.#path = path
  }

  /** Ignores a journal that cannot be read: everything is then uploaded again. */
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

  /** To be called when the frame is in the store, or no longer wanted there. */
  async clear(): Promise<void> {
    if (Object.keys(this.#parts).length === 0) return
    this.#parts = {}
    await removeFile(this.#path)
  }
}
