/** Handmade files: images whose fields are changed and whose checksums are then all repaired. */

import { readFileSync, writeFileSync } from 'node:fs'
import { XXHash3, XXHash128 } from 'xxhash-addon'

const pageSize = 4096

/** Offsets of the fields that tests change; see docs/FORMAT.md. */
export const header = {
  versionMajor: 8,
  versionMinor: 10,
  id: 16,
  parentId: 32,
  layout: 48,
  pageSize: 52,
  parentState: 72,
  checksum: 88,
} as const
export const trailer = {
  id: 8,
  fileLength: 24,
  indexOffset: 32,
  indexCount: 40,
  indexChecksum: 48,
  sumCount: 56,
  sumsChecksum: 64,
  state: 72,
  sectionsOffset: 88,
  sectionCount: 96,
  namesLength: 104,
  sectionsChecksum: 112,
  metadataOffset: 120,
  metadataLength: 128,
  metadataChecksum: 136,
  checksum: 144,
} as const
export const section = {
  byteLength: 0,
  dataOffset: 8,
  firstEntry: 16,
  entryCount: 24,
  nameOffset: 32,
  nameLength: 36,
} as const
export const entry = {
  fileOffset: 0,
  present: 8,
  zero: 16,
  checksum: 24,
  section: 32,
  block: 36,
  storedLength: 40,
  codec: 44,
} as const
/** Sizes of the structs, in bytes. */
export const sizes = { header: 96, entry: 48, sum: 16, section: 64, trailer: 152 } as const

/**
 * An image in memory. Positions are those of the file as read, even if the trailer's fields are
 * changed later.
 */
export class EditableImage {
  readonly bytes: Buffer
  readonly trailerAt: number
  readonly indexAt: number
  readonly sumsAt: number
  readonly sectionsAt: number
  readonly namesAt: number
  readonly metadataAt: number
  readonly metadataEnd: number

  constructor(path: string) {
    this.bytes = readFileSync(path)
    this.trailerAt = this.bytes.length - pageSize
    this.indexAt = this.#number(trailer.indexOffset)
    this.sumsAt = this.indexAt + sizes.entry * this.#number(trailer.indexCount)
    this.sectionsAt = this.#number(trailer.sectionsOffset)
    this.namesAt = this.sectionsAt + sizes.section * this.#number(trailer.sectionCount)
    this.metadataAt = this.#number(trailer.metadataOffset)
    this.metadataEnd = this.metadataAt + this.#number(trailer.metadataLength)
  }

  #number(field: number): number {
    return Number(this.bytes.readBigUInt64LE(this.trailerAt + field))
  }

  /** Sets an eight-byte field of the trailer. */
  setTrailer(field: number, value: bigint): void {
    this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), this.trailerAt + field)
  }

  /** Sets an eight-byte field of a section record. */
  setSection(index: number, field: number, value: bigint): void {
    this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), this.sectionsAt + index * sizes.section + field)
  }

  /** Sets an eight-byte field of an index entry. */
  setEntry(index: number, field: number, value: bigint): void {
    this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), this.indexAt + index * sizes.entry + field)
  }

  /** Reads an eight-byte field of an index entry. */
  entryField(index: number, field: number): bigint {
    return this.bytes.readBigUInt64LE(this.indexAt + index * sizes.entry + field)
  }

  /** Updates the checksum of a block after its bytes have been changed. */
  sealEntry(index: number): void {
    const at = this.indexAt + index * sizes.entry
    const start = Number(this.entryField(index, entry.fileOffset))
    const length = this.bytes.readUInt32LE(at + entry.storedLength)
    const stored = this.bytes.subarray(start, start + length)
    const isPacked = this.bytes.readUInt16LE(at + entry.codec) !== 0
    const hashed = isPacked ? stored : sumsOf(stored, this.entryField(index, entry.present))
    this.setEntry(index, entry.checksum, XXHash3.hash(Buffer.from(hashed)).readBigUInt64BE())
  }

  /** Repairs the checksums of the six parts and writes the file. */
  save(path: string): void {
    this.#seal(this.trailerAt + trailer.indexChecksum, this.indexAt, this.sumsAt)
    this.#seal(this.trailerAt + trailer.sumsChecksum, this.sumsAt, this.sectionsAt)
    this.#seal(this.trailerAt + trailer.sectionsChecksum, this.sectionsAt, this.metadataAt)
    this.#seal(this.trailerAt + trailer.metadataChecksum, this.metadataAt, this.metadataEnd)
    this.#seal(header.checksum, 0, pageSize)
    this.#seal(this.trailerAt + trailer.checksum, this.trailerAt, this.bytes.length)
    writeFileSync(path, this.bytes)
  }

  #seal(field: number, start: number, end: number): void {
    this.bytes.fill(0, field, field + 8)
    const sum = XXHash3.hash(this.bytes.subarray(start, end)).readBigUInt64BE()
    this.bytes.writeBigUInt64LE(sum, field)
  }
}

/** The sums of the pages of a block that is stored as it is: densely, or in their places. */
function sumsOf(stored: Buffer, present: bigint): Buffer {
  const pages = Array.from({ length: 64 }, (_, page) => page).filter((page) => (present >> BigInt(page)) & 1n)
  const isDense = pages.length * pageSize === stored.length
  return Buffer.concat(
    pages.map((page, i) => {
      const at = (isDense ? i : page) * pageSize
      return XXHash128.hash(Buffer.from(stored.subarray(at, at + pageSize))).reverse()
    }),
  )
}
