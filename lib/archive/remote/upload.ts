/**
 * Brings the files of a frame into a store: in parts, each an object of its own under a key that nobody else has or will have.
 * What fails is uploaded again under another key, and never over what may be there.
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

/** What is uploaded. Its bytes do not change meanwhile. */
export interface UploadSource {
  /** Bytes. */
  readonly size: number
  /** Fills the memory with the bytes from `start` on: there are as many. */
  read(start: number, memory: Uint8Array): Promise<void>
}

export interface UploadRequest {
  readonly store: ObjectStore
  readonly frameId: string
  readonly file: RemoteFile
  readonly source: UploadSource
  /** Parts that are there already: what `beginUpload()` of the writer says of those in a journal. */
  readonly present?: readonly StoredPart[]
  /** Called after each part that was uploaded, in their order, and when the call before has returned. */
  readonly onPart?: (part: StoredPart) => void | Promise<void>
  /** Bytes of a part, but for the last one. */
  readonly partSize?: number
  readonly signal?: AbortSignal | undefined
  readonly surroundings?: Surroundings
}

/** 256 MiB: what is lost if the process dies; and far from the largest object of any store. */
const defaultPartSize = 256 * 2 ** 20

const attempts = 4

/**
 * While the last bytes of a part are on their way, the next one is begun: never more than these two.
 *
 * @returns all parts of the file, those that were there among them.
 */
export async function uploadParts(request: UploadRequest): Promise<StoredPart[]> {
  const { source, partSize = defaultPartSize, onPart, signal } = request
  const parts: StoredPart[] = []
  const { stop, letGo } = stoppedBy(signal)
  const send = async (range: Range, onRead: () => void, before: Promise<void>): Promise<void> => {
    const { part, isNew } = await partOf({ ...request, signal: stop.signal }, range, onRead)
    // Told one by one, and in their order.
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
    // Whoever has asked for it may take the file away.
    await Promise.allSettled([before, last])
    letGo()
  }
}

interface Range {
  readonly number: number
  readonly start: number
  readonly end: number
}

/** @param onRead - called when all bytes of the range have been taken from the source. */
async function partOf(
  request: UploadRequest,
  range: Range,
  onRead: () => void,
): Promise<{ part: StoredPart; isNew: boolean }> {
  const part = await presentPart(request, range)
  if (part !== undefined) return { part, isNew: false }
  return { part: await uploadPart(request, range, onRead), isNew: true }
}

/** One that was uploaded before, if these bytes are in it. Reading them costs little beside uploading them. */
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
  // The file may have become another one, as when a frame was compacted.
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
        throw storeFailure(
          key,
          `the store has ${stored.size} bytes, of ${bytes.taken} that it took and ${size} that there are`,
        )
      }
      return { key, size, crc32: digitsOf(bytes.sum) }
    } catch (error) {
      signal?.throwIfAborted()
      // What cannot be read here is not read better a second time.
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

/** So much is read and summed in one go: the main thread is not kept for longer. */
const pieceSize = 2 ** 20

/** The bytes of a range, counted and summed as they are taken. */
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

/** @param path - for messages. */
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
    `${path} has become shorter while it was being uploaded: it ends at byte ${offset}. Nobody but the archive may write there`,
    { path, offset },
  )
}
