/** Decompresses blocks that are stored as a zstd frame. */

import { ZSTDDecoder } from 'zstddec'

const magic = 0xfd2fb528
const checksumLength = 4
/** Length of the dictionary id in bytes, by the two bits of the frame descriptor for it. */
const dictionaryLengths = [0, 1, 2, 4]
/** Types of zstd's own blocks. */
const runOfOneByte = 1
const reservedType = 3

/** Decompresses frames, one at a time. */
export class Decompressor {
  readonly #decoder: ZSTDDecoder

  private constructor(decoder: ZSTDDecoder) {
    this.#decoder = decoder
  }

  static async load(): Promise<Decompressor> {
    const decoder = new ZSTDDecoder()
    await decoder.init()
    return new Decompressor(decoder)
  }

  /**
   * Returns the content if the input is exactly one frame with this content length and a valid
   * checksum; otherwise undefined.
   */
  decompress(frame: Uint8Array, length: number): Uint8Array | undefined {
    if (!isWriters(frame, length)) return undefined
    try {
      // The decoder compares the checksum. Its result for an invalid frame has no content.
      const content = this.#decoder.decode(frame, length)
      return content.length === length ? content : undefined
    } catch {
      return undefined
    }
  }
}

/**
 * Decoders also accept frames without a content length or a checksum, several frames, and frames
 * without content. A writer makes a single frame that has both.
 */
function isWriters(frame: Uint8Array, contentLength: number): boolean {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
  try {
    if (view.getUint32(0, true) !== magic) return false
    const descriptor = view.getUint8(4)
    const isSingleSegment = (descriptor & 0x20) !== 0
    const hasChecksum = (descriptor & 0x04) !== 0
    const isReserved = (descriptor & 0x08) !== 0
    const dictionaryLength = dictionaryLengths[descriptor & 0x03] ?? 0
    const lengthAt = 5 + (isSingleSegment ? 0 : 1) + dictionaryLength
    const [told, end] = contentLengthAt(view, lengthAt, descriptor >>> 6, isSingleSegment)
    if (!hasChecksum || isReserved || told !== contentLength) return false
    return endOfBlocks(view, end) + checksumLength === frame.length
  } catch (error) {
    // Read past the end of the frame.
    if (error instanceof RangeError) return false
    throw error
  }
}

/** Returns the content length in the frame header, and the offset after it. */
function contentLengthAt(
  view: DataView,
  at: number,
  kind: number,
  isSingleSegment: boolean,
): [number, number] {
  if (kind === 0) return isSingleSegment ? [view.getUint8(at), at + 1] : [-1, at]
  if (kind === 1) return [view.getUint16(at, true) + 256, at + 2]
  if (kind === 2) return [view.getUint32(at, true), at + 4]
  return [Number(view.getBigUint64(at, true)), at + 8]
}

function endOfBlocks(view: DataView, start: number): number {
  for (let at = start; ; ) {
    const head = view.getUint16(at, true) + view.getUint8(at + 2) * 65_536
    const type = (head >>> 1) & 3
    if (type === reservedType) return -1
    at += 3 + (type === runOfOneByte ? 1 : head >>> 3)
    if ((head & 1) !== 0) return at
  }
}
