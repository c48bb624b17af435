/**
 * Brings the files of a frame into a store: in parts, each an object of its own under a key that nobody else has or will have.
 * What fails is uploaded again under another key, and never over what may be there.
 */

import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { StillframeError } from '../../base/errors.js'
import { fromFile } from '../../files/durable-file.js'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { digitsOf } from '../checked-json.js'
import { dataKey, type RemoteFile } from './names.js'
import { toFailure } from './reading.js'
import type { StoredPart } from './remote-state.js'
import { backOff, realSurroundings, type Surroundings } from './surroundings.js'

/** What is uploaded. Its bytes do not change meanwhile. */
export interface UploadSource {
  /** Bytes. */
  readonly size: number
  /** The bytes from `start` to `end`, in pieces. */
  read(start: number, end: number): AsyncIterable<Uint8Array>
}

export interface UploadRequest {
  readonly store: ObjectStore
  readonly frameId: string
  readonly file: RemoteFile
  readonly source: UploadSource
  /** Parts that are there already: what `beginUpload()` of the writer says of those in a journal. */
  readonly present?: readonly StoredPart[]
  /** Called after each part that was uploaded. The next one waits for it. */
  readonly onPart?: (part: StoredPart) => void | Promise<void>
  /** Bytes of a part, but for the last one. */
  readonly partSize?: number
  readonly signal?: AbortSignal | undefined
  readonly surroundings?: Surroundings
}

/** 256 MiB: what is lost if the process dies; and far from the largest object of any store. */
const defaultPartSize = 256 * 2 ** 20

const attempts = 4

/** @returns all parts of the file, those that were there among them. */
export async function uploadParts(request: UploadRequest): Promise<StoredPart[]> {
  const { source, partSize = defaultPartSize, onPart, signal } = request
  const parts: StoredPart[] = []
  for (let start = 0; start < source.size; start += partSize) {
    signal?.throwIfAborted()
    const range: Range = { number: parts.length, start, end: Math.min(source.size, start + partSize) }
    let part = await presentPart(request, range)
    if (part === undefined) {
      part = await uploadPart(request, range)
      await onPart?.(part)
    }
    parts.push(part)
  }
  return parts
}

interface Range {
  readonly number: number
  readonly start: number
  readonly end: number
}

/** One that was uploaded before, if these bytes are in it. Reading them costs little beside uploading them. */
async function presentPart(
  { frameId, file, present = [], source }: UploadRequest,
  { number, start, end }: Range,
): Promise<StoredPart | undefined> {
  const prefix = dataKey(frameId, '', file, number).split('//')
  const candidates = present.filter(({ key, size }) => {
    return size === end - start && key.startsWith(`${prefix[0]}/`) && key.endsWith(`/${prefix[1]}`)
  })
  if (candidates.length === 0) return undefined
  let sum = 0
  for await (const piece of source.read(start, end)) sum = crc32(piece, sum)
  // The file may have become another one, as when a frame was compacted.
  return candidates.find((part) => part.crc32 === digitsOf(sum))
}

async function uploadPart(request: UploadRequest, range: Range): Promise<StoredPart> {
  const { store, frameId, file, source, signal, surroundings = realSurroundings } = request
  const size = range.end - range.start
  let failure: unknown
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await backOff(surroundings, attempt, signal)
    signal?.throwIfAborted()
    const key = dataKey(frameId, surroundings.nonce(), file, range.number)
    const pieces = new SummedPieces(source, range)
    try {
      const stored = await store.upload(key, pieces, { size, ...(signal && { signal }) })
      if (stored.size !== size || pieces.size !== size) {
        throw storeFailure(
          key,
          `the store has ${stored.size} bytes, of ${pieces.size} that it took and ${size} that there are`,
        )
      }
      return { key, size, crc32: digitsOf(pieces.sum) }
    } catch (error) {
      signal?.throwIfAborted()
      // What cannot be read here is not read better a second time.
      if (pieces.failure !== undefined) throw pieces.failure
      failure = error
    }
  }
  throw toFailure(
    failure,
    dataKey(frameId, '…', file, range.number),
    `it could not be uploaded in ${attempts} attempts`,
  )
}

/** Counts and sums what passes. */
class SummedPieces implements AsyncIterable<Uint8Array> {
  readonly #source: UploadSource
  readonly #range: Range
  size = 0
  sum = 0
  failure: unknown

  constructor(source: UploadSource, range: Range) {
    this.#source = source
    this.#range = range
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    this.size = 0
    this.sum = 0
    const { start, end } = this.#range
    const pieces = this.#source.read(start, end)[Symbol.asyncIterator]()
    try {
      for (;;) {
        const piece = await pieces.next().catch((error: unknown) => {
          this.failure = error
          throw error
        })
        if (piece.done === true) return
        this.size += piece.value.byteLength
        this.sum = crc32(piece.value, this.sum)
        yield piece.value
      }
    } finally {
      await pieces.return?.()
    }
  }
}

/** Large enough for few calls, and little beside what a store holds of a stream. */
const pieceSize = 2 ** 20

/** @param path - for messages. */
export async function fileSource(file: FileHandle, path: string): Promise<UploadSource> {
  const { size } = await file.stat().catch((error: unknown) => {
    throw fromFile(error, path)
  })
  return { size, read: (start, end) => readPieces(file, path, start, end) }
}

async function* readPieces(
  file: FileHandle,
  path: string,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; ) {
    // Each its own: a store may hold several of them.
    const piece = new Uint8Array(Math.min(pieceSize, end - at))
    const { bytesRead } = await file.read(piece, 0, piece.byteLength, at).catch((error: unknown) => {
      throw fromFile(error, path)
    })
    if (bytesRead === 0) throw shorter(path, at)
    yield piece.subarray(0, bytesRead)
    at += bytesRead
  }
}

function shorter(path: string, offset: number): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_IO',
    `${path} has become shorter while it was being uploaded: it ends at byte ${offset}. Nobody but the archive may write there`,
    { path, offset },
  )
}
