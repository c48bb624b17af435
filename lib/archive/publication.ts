/**
 * Publication of a frame. Memory and objects are written under their final names and synced; then
 * the manifest makes them a frame. If anything fails before that, there is no frame, and no file is
 * left.
 */

import type { Buffer } from 'node:buffer'
import { createReadStream } from 'node:fs'
import { crc32 } from 'node:zlib'
import { fromFile, removeFile, replaceFile, syncDirectory } from '../files/durable-file.js'
import type { ForkJob } from '../heap/fork-job.js'
import { giveUpSnapshot, type Sequel, type Snapshot, type SnapshotResult } from '../snapshot/snapshot.js'
import { digitsOf } from './checked-json.js'
import type { KnownEntry } from './frame-table.js'
import { encodeManifest, type Manifest, measurementsOf } from './manifest.js'
import { pathOf } from './names.js'

export interface PublicationRequest {
  readonly directory: string
  readonly number: number
  /** The parent frame; undefined for a full frame. */
  readonly parent: KnownEntry | undefined
  /**
   * The job that writes the JavaScript objects of the same instant; undefined if there are none.
   */
  readonly state: ForkJob | undefined
  readonly set: string | undefined
  readonly sections: Manifest['sections']
  readonly compression: Manifest['compression']
  /**
   * Called when the frame is on disk. The capture completes when this resolves; if it rejects, the
   * frame is discarded.
   */
  onPublished(manifest: Manifest): Promise<void>
  /** Called when all files of the frame have been removed. */
  onDiscarded(reason: unknown): void
}

export class Publication implements Sequel {
  readonly #request: PublicationRequest
  #snapshot: Snapshot | undefined

  constructor(request: PublicationRequest) {
    this.#request = request
  }

  /** Gives up the capture if the JavaScript objects cannot be written. */
  follow(snapshot: Snapshot): void {
    this.#snapshot = snapshot
    this.#request.state?.done.catch((reason: unknown) => giveUpSnapshot(snapshot, reason))
  }

  async commit(result: SnapshotResult): Promise<void> {
    const { directory, number, state } = this.#request
    const written = await state?.done
    const path = pathOf(directory, number, 'state')
    const manifest = this.#manifestOf(
      result,
      written && { fileSize: written.fileSize, crc32: await checksumOfFile(path) },
    )
    await replaceFile(pathOf(directory, number, 'manifest'), encodeManifest(manifest))
    await syncDirectory(directory)
    await this.#request.onPublished(manifest)
  }

  async discard(reason: unknown): Promise<void> {
    const { directory, number, state } = this.#request
    state?.abort()
    await state?.done.catch(() => {})
    // The manifest goes first: without it there is no frame, whatever else is left.
    for (const part of ['manifest', 'memory', 'state'] as const) {
      await removeFile(pathOf(directory, number, part)).catch(() => {})
    }
    this.#request.onDiscarded(reason)
  }

  abort(): void {
    this.#request.state?.abort()
  }

  #manifestOf(result: SnapshotResult, state: Manifest['state']): Manifest {
    const { number, parent, set, sections, compression } = this.#request
    const { id, parentId } = result
    return {
      number,
      id,
      ...(parentId !== undefined && { parentId }),
      ...(parentId !== undefined && parent !== undefined && { parentNumber: parent.number }),
      frozenAtMs: this.#snapshot?.frozenAt.getTime() ?? 0,
      ...measurementsOf(result),
      sections,
      ...(compression !== undefined && { compression }),
      ...(state !== undefined && { state }),
      ...(set !== undefined && { set }),
    }
  }
}

/**
 * CRC-32 of a file, in hexadecimal digits. Reads the file in pieces, each of which occupies the
 * thread only briefly.
 */
export async function checksumOfFile(path: string, fd?: number): Promise<string> {
  const options = { highWaterMark: 2 ** 20, ...(fd !== undefined && { fd, start: 0, autoClose: false }) }
  let sum = 0
  try {
    for await (const piece of createReadStream(path, options)) sum = crc32(piece as Buffer, sum)
  } catch (error) {
    throw fromFile(error, path)
  }
  return digitsOf(sum)
}
