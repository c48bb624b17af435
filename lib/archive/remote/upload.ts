/**
 * Uploads the files of a frame to a store, in parts. Each part is an object under a unique key. A
 * part that fails is uploaded again under another key and never overwrites what may be there.
 */

import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { StillframeError } from '../../base/errors.js'
import { fromFile } from '../../files/durable-file.js'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { FillingStream, stoppedBy } from '../../store/stream.js'
import { digitsOf } from '../checked-json.js'
import { dataKey, type RemoteFile } from './names.js'
import { toFailure } from './reading.js'
import type { StoredPart } from './remote-state.js'
import { backOff, realSurroundings, type Surroundings } from './surroundings.js'

/** The bytes to upload. They must not change meanwhile. */
export interface UploadSource {
  /** Size in bytes. */
  readonly size: number
  /** Fills the memory with bytes from offset `start`; the source has enough of them. */
  read(start: number, memory: Uint8Array): Promise<void>
}

export interface UploadRequest {
  readonly store: ObjectStore
  readonly frameId: string
  readonly file: RemoteFile
  readonly source: UploadSource
  /** Parts that exist already: those of a journal that `beginUpload()` has found reliable. */
  readonly present?: readonly StoredPart[]
  /**
   * Called after each part that was uploaded, in order, and never before the previous call has
   * returned.
   */
  readonly onPart?: (part: StoredPart) => void | Promise<void>
  /** Bytes per part; the last one may be smaller. */
  readonly partSize?: number
  readonly signal?: AbortSignal | undefined
  readonly surroundings?: Surroundings
}

/**
 * 256 MiB: the most that is lost if the process dies, and far below the object size limit of any
 * store.
 */
const defaultPartSize = 256 * 2 ** 20

const attempts = 4

/**
 * Uploads a file. The next part starts while the last bytes of a part are on their way; no more
 * than two parts are in progress.
 *
 * @returns all parts of the file, including those that existed already.
 */
export async function uploadParts(request: UploadRequest): Promise<StoredPart[]> {
  const { source, partSize = defaultPartSize, onPart, signal } = request
  const parts: StoredPart[] = []
  const { stop, letGo } = stoppedBy(signal)
  const send = async (range: Range, onRead: () => void, before: Promise<void>): Promise<void> => {
    const { part, isNew } = await partOf({ ...request, signal: stop.signal }, range, onRead)
    // Report parts one at a time and in order.
    await before
    parts.push(part)
    if (isNew) await onPart?.(part)
  }
  let before: Promise<void> = Promise.resolve()
  let last = before
  try {
    for (let start = 0; start < source.size; start += partSize) {
      stop.signal.throwIfAborted()
      const range: Range = { number: start / partSize, start, end: Math.min(source.size, start + partSize) }
      before = last
      const isRead = new Promise<void>((onRead) => {
        last = send(range, onRead, before)
      })
      await Promise.all([Promise.race([isRead, last]), before])
    }
    await last
    return parts
  } catch (error) {
    stop.abort(error)
    throw error
  } finally {
    // The caller may close the file once this has returned.
    await Promise.allSettled([before, last])
    letGo()
  }
}

interface Range {
  readonly number: number
  readonly start: number
  readonly end: number
}

/** @param onRead - called when all bytes of the range have been read from the source. */
async function partOf(
  request: UploadRequest,
  range: Range,
  onRead: () => void,
): Promise<{ part: StoredPart; isNew: boolean }> {
  const part = await presentPart(request, range)
  if (part !== undefined) return { part, isNew: false }
  return { part: await uploadPart(request, range, onRead), isNew: true }
}

/**
 * Returns a part that was uploaded earlier and has the same bytes. Reading them is cheap compared
 * with uploading them.
 */
async function presentPart(
  { frameId, file, present = [], source }: UploadRequest,
  range: Range,
): Promise<StoredPart | undefined> {
  const prefix = dataKey(frameId, '', file, range.number).split('//')
  const candidates = present.filter(({ key, size }) => {
    return (
      size === range.end - range.start && key.startsWith(`${prefix[0]}/`) && key.endsWith(`/${prefix[1]}`)
    )
  })
  if (candidates.length === 0) return undefined
  const bytes = new RangeStream(source, range)
  const memory = new Uint8Array(pieceSize)
  while ((await bytes.fill(memory)) === memory.length);
  // The file may have been replaced, for example when the frame was compacted.
  return candidates.find((part) => part.crc32 === digitsOf(bytes.sum))
}

async function uploadPart(request: UploadRequest, range: Range, onRead: () => void): Promise<StoredPart> {
  const { store, frameId, file, source, signal, surroundings = realSurroundings } = request
  const size = range.end - range.start
  let failure: unknown
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await backOff(surroundings, attempt, signal)
    signal?.throwIfAborted()
    const key = dataKey(frameId, surroundings.nonce(), file, range.number)
    const bytes = new RangeStream(source, range, onRead)
    try {
      const stored = await store.upload(key, bytes, { size, ...(signal && { signal }) })
      if (stored.size !== size || bytes.taken !== size) {
        throw storeFailure(key, `the store has ${stored.size} bytes; it took ${bytes.taken} of ${size}`)
      }
      return { key, size, crc32: digitsOf(bytes.sum) }
    } catch (error) {
      signal?.throwIfAborted()
      // A read error of the local file would occur again.
      if (bytes.failure !== undefined) throw bytes.failure
      failure = error
    }
  }
  throw toFailure(
    failure,
    dataKey(frameId, '…', file, range.number),
    `it could not be uploaded in ${attempts} attempts`,
  )
}

/**
 * Bytes that are read and checksummed at a time, which bounds how long the main thread is occupied.
 */
const pieceSize = 2 ** 20

/** The bytes of a range, counted and checksummed as they are consumed. */
class RangeStream extends FillingStream {
  readonly #source: UploadSource
  readonly #range: Range
  readonly #onRead: (() => void) | undefined
  taken = 0
  sum = 0
  failure: unknown

  constructor(source: UploadSource, range: Range, onRead?: () => void) {
    super()
    this.#source = source
    this.#range = range
    this.#onRead = onRead
  }

  override async fill(memory: Uint8Array): Promise<number> {
    const { start, end } = this.#range
    const length = Math.min(memory.length, end - start - this.taken)
    for (let at = 0; at < length; at += pieceSize) {
      const piece = memory.subarray(at, Math.min(length, at + pieceSize))
      try {
        await this.#source.read(start + this.taken, piece)
      } catch (error) {
        this.failure = error
        throw error
      }
      this.sum = crc32(piece, this.sum)
      this.taken += piece.length
    }
    if (this.taken === end - start) this.#onRead?.()
    return length
  }
}

/** @param path - for error messages. */
export async function fileSource(file: FileHandle, path: string): Promise<UploadSource> {
  const { size } = await file.stat().catch((error: unknown) => {
    throw fromFile(error, path)
  })
  return { size, read: (start, memory) => readAll(file, path, start, memory) }
}

async function readAll(file: FileHandle, path: string, start: number, memory: Uint8Array): Promise<void> {
  for (let at = 0; at < memory.length; ) {
    const { bytesRead } = await file
      .read(memory, at, memory.length - at, start + at)
      .catch((error: unknown) => {
        throw fromFile(error, path)
      })
    if (bytesRead === 0) throw shorter(path, start + at)
    at += bytesRead
  }
}

function shorter(path: string, offset: number): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_IO',
    `${path} was truncated while it was being uploaded: it ends at byte ${offset}. Only the archive may ` +
      'write there',
    { path, offset },
  )
}
