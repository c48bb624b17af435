/** Answers requests of native code for ranges of files whose parts are in a store. */

import { setMaxListeners } from 'node:events'
import { codeOf, messageOf } from '../base/errors.js'
import type { FarFiles } from '../restore/restore.js'
import type { ObjectStore } from '../store/store.js'
import { type PartsFile, sizeOf } from './lazy-thread-data.js'
import { fetchRange } from './remote/index.js'

export class RangeReader {
  /** The first failure, if any. */
  failure: unknown
  readonly #store: ObjectStore
  readonly #files: readonly PartsFile[]
  readonly #signal: AbortSignal

  constructor(store: ObjectStore, files: readonly PartsFile[], signal: AbortSignal) {
    this.#store = store
    this.#files = files
    this.#signal = signal
    // Each request in progress adds a listener.
    setMaxListeners(0, signal)
  }

  far(): FarFiles {
    return {
      files: this.#files.map((file) => ({ name: file.name, byteLength: sizeOf(file) })),
      onRead: (file, offset, length, answer) => {
        const { parts } = this.#files[file] as PartsFile
        fetchRange(this.#store, parts, offset, offset + length, this.#signal).then(answer, (error) => {
          this.failure ??= error
          answer(undefined, messageOf(error), codeOf(error) === 'ERR_STILLFRAME_CORRUPT')
        })
      },
    }
  }
}
