/**
 * Downloads a file of a frame from a store. Ranges are fetched in parallel and written as they
 * arrive, and the checksum of each part is verified before the download succeeds. Until then the
 * target may contain anything.
 */

import { Buffer } from 'node:buffer'
import { setMaxListeners } from 'node:events'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { StillframeError } from '../../base/errors.js'
import { fromFile, removeFile, writeAll } from '../../files/durable-file.js'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { digitsOf } from '../checked-json.js'
import { isNotFound, toFailure } from './reading.js'
import type { StoredPart } from './remote-state.js'
import { backOff, realSurroundings, type Surroundings } from './surroundings.js'

/** Destination of the bytes. */
export interface DownloadTarget {
  /** Writes all bytes. Does not use them after it has returned. */
  write(offset: number, bytes: Uint8Array): Promise<void>
}

export interface DownloadRequest {
  readonly store: ObjectStore
  readonly parts: readonly StoredPart[]
  readonly target: DownloadTarget
  /** Bytes per request. */
  readonly rangeSize?: number
  /** Limit on bytes that are requested and not yet written. */
  readonly maxBytesInFlight?: number
  readonly signal?: AbortSignal | undefined
  readonly surroundings?: Surroundings
}

/** 8 MiB. With 16 requests in progress, the time to the first byte of each is hidden. */
const defaultRangeSize = 8 * 2 ** 20
const defaultBytesInFlight = 128 * 2 ** 20

const attempts = 4

/**
 * Once this resolves, the target contains all parts, one after the other.
 *
 * @throws StillframeError `ERR_STILLFRAME_NOT_FOUND` if an object is gone; a reader without a lease
 *   should then look for a newer version. `ERR_STILLFRAME_CORRUPT` if an object differs from what
 *   was uploaded, in two downloads. `ERR_STILLFRAME_IO`.
 */
export async function downloadParts(request: DownloadRequest): Promise<void> {
  const offsets = offsetsOf(request.parts)
  let parts = request.parts.map((part, index) => ({ part, offset: offsets[index] ?? 0 }))
  // Retry damaged parts once: the bytes may have been changed in transit.
  for (let round = 0; round < 2 && parts.length > 0; round++) {
    const damaged = await fetchAll(request, parts)
    parts = parts.filter(({ part }) => damaged.has(part))
  }
  const [first] = parts
  if (first === undefined) return
  throw damaged(first.part, `its checksum is not ${first.part.crc32}`)
}

function damaged({ key }: StoredPart, reason: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_CORRUPT',
    `Object '${key}' is damaged: ${reason}. Use another frame, or restore an earlier version of this ` +
      'object if the store keeps versions',
  )
}

interface PlacedPart {
  readonly part: StoredPart
  /** Offset in the target. */
  readonly offset: number
}

function offsetsOf(parts: readonly StoredPart[]): number[] {
  let end = 0
  return parts.map(({ size }) => {
    end += size
    return end - size
  })
}

/** A range of a part. */
interface Piece extends PlacedPart {
  readonly start: number
  readonly end: number
}

/**
 * Fetches a range of the file that the parts make up. The checksums are left to the caller.
 *
 * @throws StillframeError as {@link downloadParts} does.
 */
export async function fetchRange(
  store: ObjectStore,
  parts: readonly StoredPart[],
  start: number,
  end: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const offsets = offsetsOf(parts)
  const pieces: Piece[] = parts
    .map((part, index) => {
      const offset = offsets[index] ?? 0
      return { part, offset, start: Math.max(start - offset, 0), end: Math.min(end - offset, part.size) }
    })
    .filter((piece) => piece.start < piece.end)
  const bytes = await Promise.all(pieces.map((piece) => fetchPiece({ store }, piece, signal)))
  return bytes.length === 1 ? (bytes[0] as Uint8Array) : Buffer.concat(bytes)
}

/** @returns the parts whose checksum is wrong. */
async function fetchAll(request: DownloadRequest, parts: readonly PlacedPart[]): Promise<Set<StoredPart>> {
  const { rangeSize = defaultRangeSize, maxBytesInFlight = defaultBytesInFlight } = request
  const pieces = piecesOf(parts, rangeSize)
  const sums = new PartSums()
  const failed = new AbortController()
  const signal = request.signal ? AbortSignal.any([request.signal, failed.signal]) : failed.signal
  // Each request in progress adds a listener.
  setMaxListeners(0, signal)
  const work = async (): Promise<void> => {
    for (let next = pieces.next(); next.done !== true; next = pieces.next()) {
      const turn = sums.nextTurn()
      const bytes = await fetchPiece(request, next.value, signal)
      await request.target.write(next.value.offset + next.value.start, bytes)
      // Update the checksum in the order of the bytes. All earlier pieces are already being
      // fetched.
      await turn.before
      sums.add(next.value.part, bytes)
      turn.end()
    }
  }
  const width = Math.max(1, Math.floor(maxBytesInFlight / rangeSize))
  const workers = Array.from({ length: width }, async () => {
    await work().catch((error: unknown) => {
      failed.abort(error)
      sums.giveUp()
      throw error
    })
  })
  // Wait for all workers, so that nothing is written after this function has returned.
  const outcomes = await Promise.allSettled(workers)
  request.signal?.throwIfAborted()
  if (failed.signal.aborted) throw failed.signal.reason
  if (outcomes.some(({ status }) => status === 'rejected'))
    throw new Error('a worker failed without a reason')
  return sums.wrong(parts)
}

function* piecesOf(parts: readonly PlacedPart[], rangeSize: number): Generator<Piece> {
  for (const placed of parts) {
    for (let start = 0; start < placed.part.size; start += rangeSize) {
      yield { ...placed, start, end: Math.min(placed.part.size, start + rangeSize) }
    }
  }
}

/** Computes the checksum of each part, from pieces that arrive in any order. */
class PartSums {
  readonly #sums = new Map<StoredPart, number>()
  #last: Promise<void> = Promise.resolve()
  #ends = new Set<() => void>()

  /** To be called in the order of the pieces. */
  nextTurn(): { before: Promise<void>; end: () => void } {
    const before = this.#last
    let resolve = (): void => {}
    this.#last = new Promise((fulfil) => {
      resolve = fulfil
    })
    const end = (): void => {
      this.#ends.delete(resolve)
      resolve()
    }
    this.#ends.add(resolve)
    return { before, end }
  }

  add(part: StoredPart, bytes: Uint8Array): void {
    this.#sums.set(part, crc32(bytes, this.#sums.get(part) ?? 0))
  }

  /** Releases all waiters. */
  giveUp(): void {
    for (const resolve of this.#ends) resolve()
  }

  wrong(parts: readonly PlacedPart[]): Set<StoredPart> {
    const wrong = parts.filter(({ part }) => digitsOf(this.#sums.get(part) ?? 0) !== part.crc32)
    return new Set(wrong.map(({ part }) => part))
  }
}

async function fetchPiece(
  { store, surroundings = realSurroundings }: Pick<DownloadRequest, 'store' | 'surroundings'>,
  { part, start, end }: Piece,
  signal: AbortSignal,
): Promise<Uint8Array> {
  let failure: unknown
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await backOff(surroundings, attempt, signal)
    signal.throwIfAborted()
    try {
      const { body, size } = await store.get(part.key, { range: [start, end], signal })
      if (size !== part.size) throw damaged(part, `it has ${size} bytes instead of ${part.size}`)
      if (body.byteLength === end - start) return body
      throw storeFailure(part.key, `${body.byteLength} bytes were received instead of ${end - start}`)
    } catch (error) {
      signal.throwIfAborted()
      if (isNotFound(error)) throw error
      failure = error
    }
  }
  // Requests beyond the end of a truncated object cannot succeed, so compare its size.
  const now = await store.head(part.key, { signal }).catch(() => undefined)
  if (now !== undefined && now.size !== part.size) {
    throw damaged(part, `it has ${now.size} bytes instead of ${part.size}`)
  }
  throw toFailure(failure, part.key, `it could not be fetched in ${attempts} attempts. Check the network`)
}

/** @param path - for error messages. */
export function fileTarget(file: FileHandle, path: string): DownloadTarget {
  return {
    async write(offset, bytes) {
      try {
        await writeAll(file, bytes, offset)
      } catch (error) {
        throw fromFile(error, path)
      }
    },
  }
}

/**
 * Downloads the parts to a new file, which only its owner can read. The file is not synced, since
 * it is read at once. If anything fails, the file is removed.
 */
export async function downloadFile(path: string, request: Omit<DownloadRequest, 'target'>): Promise<void> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  const file = await open(path, flags, 0o600).catch((error: unknown) => {
    throw fromFile(error, path)
  })
  try {
    await downloadParts({ ...request, target: fileTarget(file, path) })
  } catch (error) {
    await removeFile(path).catch(() => {})
    throw error
  } finally {
    await file.close()
  }
}
