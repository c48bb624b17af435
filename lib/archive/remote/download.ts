/**
 * Fetches a file of a frame from a store: ranges side by side, and each part checked before the file is said to be there. What
 * has come is written at once; so whoever reads a target before that may see anything.
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

/** Where the bytes go. */
export interface DownloadTarget {
  /** Writes all of them. The bytes are not used after it has returned. */
  write(offset: number, bytes: Uint8Array): Promise<void>
}

export interface DownloadRequest {
  readonly store: ObjectStore
  readonly parts: readonly StoredPart[]
  readonly target: DownloadTarget
  /** Bytes of a request. */
  readonly rangeSize?: number
  /** Bytes that are asked for and not written yet, at most. */
  readonly maxBytesInFlight?: number
  readonly signal?: AbortSignal | undefined
  readonly surroundings?: Surroundings
}

/** 8 MiB: with 16 of them under way, the time to the first byte of each is hidden. */
const defaultRangeSize = 8 * 2 ** 20
const defaultBytesInFlight = 128 * 2 ** 20

const attempts = 4

/**
 * When this has returned, the target has all bytes of the parts, one part after the other.
 *
 * @throws StillframeError `ERR_STILLFRAME_NOT_FOUND`: an object is gone; of a reader without a lease, look again what there is.
 *   `ERR_STILLFRAME_CORRUPT`: an object is not what was uploaded, fetched twice. `ERR_STILLFRAME_IO`
 */
export async function downloadParts(request: DownloadRequest): Promise<void> {
  const offsets = offsetsOf(request.parts)
  let parts = request.parts.map((part, index) => ({ part, offset: offsets[index] ?? 0 }))
  // Bytes may have been changed on the way.
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
    `Object '${key}' is damaged: ${reason}. Take another frame, or bring back an earlier version of this object, if the ` +
      'store keeps them',
  )
}

interface PlacedPart {
  readonly part: StoredPart
  /** In the target. */
  readonly offset: number
}

function offsetsOf(parts: readonly StoredPart[]): number[] {
  let end = 0
  return parts.map(({ size }) => {
    end += size
    return end - size
  })
}

/** Some bytes of a part. */
interface Piece extends PlacedPart {
  readonly start: number
  readonly end: number
}

/**
 * Bytes of a file of these parts, which somebody else checks.
 *
 * @throws StillframeError as {@link downloadParts}.
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
  // Each request that is under way listens.
  setMaxListeners(0, signal)
  const work = async (): Promise<void> => {
    for (let next = pieces.next(); next.done !== true; next = pieces.next()) {
      const turn = sums.nextTurn()
      const bytes = await fetchPiece(request, next.value, signal)
      await request.target.write(next.value.offset + next.value.start, bytes)
      // Checksums are taken in the order of the bytes. Those before are under way already.
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
  // Nothing may be written any more when this is over.
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

/** The checksum of each part, of pieces that come in any order. */
class PartSums {
  readonly #sums = new Map<StoredPart, number>()
  #last: Promise<void> = Promise.resolve()
  #ends = new Set<() => void>()

  /** To be asked for in the order of the pieces. */
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

  /** Lets go all who wait. */
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
      if (size !== part.size) throw damaged(part, `it has ${size} bytes, and not ${part.size}`)
      if (body.byteLength === end - start) return body
      throw storeFailure(part.key, `${body.byteLength} bytes came of ${end - start}`)
    } catch (error) {
      signal.throwIfAborted()
      if (isNotFound(error)) throw error
      failure = error
    }
  }
  // What has been cut since is asked for in vain.
  const now = await store.head(part.key, { signal }).catch(() => undefined)
  if (now !== undefined && now.size !== part.size) {
    throw damaged(part, `it has ${now.size} bytes, and not ${part.size}`)
  }
  throw toFailure(failure, part.key, `it could not be fetched in ${attempts} attempts. Look at the network`)
}

/** @param path - for messages. */
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

/** Makes a file of the parts, for its owner only. It is read at once: nobody brings it to the disk. If anything fails, there is none. */
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
