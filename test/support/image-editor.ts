/** Hand-made files: an image whose fields are changed and whose checksums are then all repaired. */

import { readFileSync, writeFileSync } from 'node:fs'
import { XXHash3 } from 'xxhash-addon'

const pageSize = 4096

/** Offsets of the fields that tests change; see docs/FORMAT.md. */
export const header = { versionMajor: 8, versionMinor: 10, parentId: 32, layout: 48, pageSize: 52 } as const
export const trailer = {
  fileLength: 24,
  indexOffset: 32,
  indexCount: 40,
  sectionsOffset: 56,
  sectionCount: 64,
  namesLength: 72,
  metadataOffset: 88,
  metadataLength: 96,
} as const
export const section = { byteLength: 0, dataOffset: 8, nameOffset: 32, nameLength: 36 } as const
export const entry = {
  fileOffset: 0,
  present: 8,
  section: 24,
  block: 28,
  storedLength: 32,
  codec: 36,
} as const

/** An image in memory. Positions are of the file as it was read; the trailer's fields may then say otherwise. */
export class EditableImage {
  readonly bytes: Buffer
  readonly trailerAt: number
  readonly indexAt: number
  readonly sectionsAt: number
  readonly namesAt: number
  readonly metadataAt: number
  readonly metadataEnd: number

  constructor(path: string) {
    this.bytes = readFileSync(path)
    this.trailerAt = this.bytes.length - pageSize
    this.indexAt = this.#number(trailer.indexOffset)
    this.sectionsAt = this.#number(trailer.sectionsOffset)
    this.namesAt = this.sectionsAt + 64 * this.#number(trailer.sectionCount)
    this.metadataAt = this.#number(trailer.metadataOffset)
    this.metadataEnd = this.metadataAt + this.#number(trailer.metadataLength)
  }

  #number(field: number): number {
    return Number(this.bytes.readBigUInt64LE(this.trailerAt + field))
  }

  /** Sets a field of eight bytes of the trailer. */
  setTrailer(field: number, value: bigint): void {
    this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), this.trailerAt + field)
  }

  /** Sets a field of eight bytes of a section record. */
  setSection(index: number, field: number, value: bigint): void {
    this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), this.sectionsAt + index * 64 + field)
  }

  /** Sets a field of eight bytes of an index entry. */
  setEntry(index: number, field: number, value: bigint): void {
    this.bytes.writeBigUInt64LE(BigInt.asUintN(64, value), this.indexAt + index * 40 + field)
  }

  /** Repairs the checksums of the five parts and writes the file. */
  save(path: string): void {
    this.#seal(this.trailerAt + 48, this.indexAt, this.sectionsAt)
    this.#seal(this.trailerAt + 80, this.sectionsAt, this.metadataAt)
    this.#seal(this.trailerAt + 104, this.metadataAt, this.metadataEnd)
    this.#seal(72, 0, pageSize)
    this.#seal(this.trailerAt + 112, this.trailerAt, this.bytes.length)
    writeFileSync(path, this.bytes)
  }

  #seal(field: number, start: number, end: number): void {
    this.bytes.fill(0, field, field + 8)
    const sum = XXHash3.hash(this.bytes.subarray(start, end)).readBigUInt64BE()
    this.bytes.writeBigUInt64LE(sum, field)
  }
}
