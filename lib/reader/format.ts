/**
 * The binary layout of the image file, transcribed from its specification, docs/FORMAT.md. 64-bit
 * lengths and offsets are converted to doubles: a value too large to be exact exceeds every limit,
 * and still does so after rounding.
 */

import { Buffer } from 'node:buffer'

export const pageSize = 4096
export const pagesPerBlock = 64
export const blockSize = pageSize * pagesPerBlock
/**
 * Chunks are counted from the start of a section. In a packed file the stored blocks of a chunk are
 * contiguous.
 */
export const blocksPerChunk = 16
export const chunkSize = blockSize * blocksPerChunk
/** Alignment of the sections and of the tail, in bytes. */
export const partAlignment = 65_536

export const headerMagic = Buffer.from('\x89SFRAM\r\n', 'latin1')
export const trailerMagic = Buffer.from('SFRAMEND', 'latin1')
export const versionMajor = 1

export const maxNameLength = 255
export const maxMetadataLength = 64 * 2 ** 20
export const maxSectionLength = 2 ** 47

export const headerSize = 96
export const headerChecksumAt = 88
export const trailerChecksumAt = 144
export const entrySize = 48
export const recordSize = 64

/** Layouts, indexed by their number in the header. */
export const layouts = ['flat', 'packed'] as const
export type Layout = (typeof layouts)[number]
export const zstdCodec = 1

export interface Header {
  readonly versionMajor: number
  readonly versionMinor: number
  readonly headerLength: number
  /** 16 bytes. */
  readonly id: Buffer
  /** 16 bytes, all zero in a full file. */
  readonly parentId: Buffer
  readonly layout: number
  readonly pageSize: number
  readonly blockSize: number
  readonly frozenAtNs: bigint
  /** Sum of the parent's state. */
  readonly parentState: Buffer
  readonly checksum: bigint
}

export interface Trailer {
  readonly id: Buffer
  readonly fileLength: number
  readonly indexOffset: number
  readonly indexCount: number
  readonly indexChecksum: bigint
  readonly sumCount: number
  readonly sumsChecksum: bigint
  /** Sum of the state. */
  readonly state: Buffer
  readonly sectionsOffset: number
  readonly sectionCount: number
  readonly namesLength: number
  readonly sectionsChecksum: bigint
  readonly metadataOffset: number
  readonly metadataLength: number
  readonly metadataChecksum: bigint
  readonly checksum: bigint
}

export interface SectionRecord {
  readonly byteLength: number
  readonly dataOffset: number
  readonly firstEntry: number
  readonly entryCount: number
  readonly nameOffset: number
  readonly nameLength: number
}

export interface BlockEntry {
  /** Index of this entry in the file. */
  readonly position: number
  readonly fileOffset: number
  /** Bit *i*: page *i* is in the file. */
  readonly present: bigint
  /** Bit *i*: page *i* is zero. */
  readonly zero: bigint
  readonly checksum: bigint
  readonly section: number
  readonly block: number
  readonly storedLength: number
  readonly codec: number
  readonly reserved: number
}

const number64 = (bytes: Buffer, at: number): number => Number(bytes.readBigUInt64LE(at))

export function readHeader(page: Buffer): Header {
  return {
    versionMajor: page.readUInt16LE(8),
    versionMinor: page.readUInt16LE(10),
    headerLength: page.readUInt32LE(12),
    id: page.subarray(16, 32),
    parentId: page.subarray(32, 48),
    layout: page.readUInt32LE(48),
    pageSize: page.readUInt32LE(52),
    blockSize: page.readUInt32LE(56),
    frozenAtNs: page.readBigInt64LE(64),
    parentState: page.subarray(72, 88),
    checksum: page.readBigUInt64LE(headerChecksumAt),
  }
}

export function readTrailer(page: Buffer): Trailer {
  return {
    id: page.subarray(8, 24),
    fileLength: number64(page, 24),
    indexOffset: number64(page, 32),
    indexCount: number64(page, 40),
    indexChecksum: page.readBigUInt64LE(48),
    sumCount: number64(page, 56),
    sumsChecksum: page.readBigUInt64LE(64),
    state: page.subarray(72, 88),
    sectionsOffset: number64(page, 88),
    sectionCount: number64(page, 96),
    namesLength: number64(page, 104),
    sectionsChecksum: page.readBigUInt64LE(112),
    metadataOffset: number64(page, 120),
    metadataLength: number64(page, 128),
    metadataChecksum: page.readBigUInt64LE(136),
    checksum: page.readBigUInt64LE(trailerChecksumAt),
  }
}

export function readRecord(table: Buffer, index: number): SectionRecord {
  const at = index * recordSize
  return {
    byteLength: number64(table, at),
    dataOffset: number64(table, at + 8),
    firstEntry: number64(table, at + 16),
    entryCount: number64(table, at + 24),
    nameOffset: table.readUInt32LE(at + 32),
    nameLength: table.readUInt32LE(at + 36),
  }
}

/**
 * @param at - offset in `bytes`.
 * @param position - index among all entries of the file.
 */
export function readEntry(bytes: Buffer, at: number, position: number): BlockEntry {
  return {
    position,
    fileOffset: number64(bytes, at),
    present: bytes.readBigUInt64LE(at + 8),
    zero: bytes.readBigUInt64LE(at + 16),
    checksum: bytes.readBigUInt64LE(at + 24),
    section: bytes.readUInt32LE(at + 32),
    block: bytes.readUInt32LE(at + 36),
    storedLength: bytes.readUInt32LE(at + 40),
    codec: bytes.readUInt16LE(at + 44),
    reserved: bytes.readUInt16LE(at + 46),
  }
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple
}

export function blockCountOf(byteLength: number): number {
  return Math.ceil(byteLength / blockSize)
}

/** Length of the whole pages of a block, in bytes, for a section of this length. */
export function paddedBlockLength(byteLength: number, block: number): number {
  return Math.min(blockSize, roundUp(byteLength - block * blockSize, pageSize))
}

/** A mask of the pages that a block has. */
export function pagesOfBlock(byteLength: number, block: number): bigint {
  return (1n << BigInt(paddedBlockLength(byteLength, block) / pageSize)) - 1n
}

/** Indices of the set bits, in ascending order. */
export function pagesIn(bits: bigint): number[] {
  const pages: number[] = []
  for (const [half, first] of [
    [Number(bits & 0xffffffffn), 0],
    [Number(bits >> 32n), 32],
  ] as const) {
    for (let left = half; left !== 0; left = (left & (left - 1)) >>> 0) {
      pages.push(first + 31 - Math.clz32(left & -left))
    }
  }
  return pages
}

/** Number of set bits. */
export function countOf(bits: bigint): number {
  return countOf32(Number(bits & 0xffffffffn)) + countOf32(Number(bits >> 32n))
}

function countOf32(bits: number): number {
  const pairs = bits - ((bits >>> 1) & 0x55555555)
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333)
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
