/** An open file with its parents: reads and checks the pages of its sections. */

import { Buffer } from 'node:buffer'
import type { ImageInfo } from '../image/info.js'
import { corrupt, ReadFailure } from './failure.js'
import {
  type BlockEntry,
  blockSize,
  blocksPerChunk,
  countOf,
  entrySize,
  paddedBlockLength,
  pageSize,
  pagesIn,
  pagesOfBlock,
  pagesPerBlock,
  partAlignment,
  roundUp,
  zstdCodec,
} from './format.js'
import { type Hashes, sumSize } from './hashes.js'
import type { Opened, Section } from './opening.js'
import { StateSum, sumsOfBlock } from './state-sum.js'
import { areZero, checkZeros } from './zeros.js'
import type { Decompressor } from './zstd.js'

/** Helpers for checking and decompressing. */
export interface Tools {
  readonly hashes: Hashes
  readonly decompressor: Decompressor
}

/** How to check pages: not at all, by the checksums of blocks, or also by the sum of each page. */
export type Check = 'nothing' | 'blocks' | 'sums'

const sumWindow = 2 ** 20

/** The part of a run of blocks that comes from one file of a chain. */
interface Layer {
  readonly file: ImageFile
  readonly section: number
  readonly entries: readonly BlockEntry[]
  /** For each block, the pages to take from this file. */
  readonly wanted: readonly bigint[]
}

export class ImageFile {
  readonly opened: Opened
  readonly #tools: Tools
  #parent: ImageFile | undefined
  #isParent = false
  /** For each section, its number in the parent. */
  #inParent: readonly (number | undefined)[] = []
  #stateChecked: Promise<void> | undefined

  constructor(opened: Opened, tools: Tools) {
    this.opened = opened
    this.#tools = tools
  }

  /** Sets the parent, which provides the pages that this file does not have. */
  buildOn(parent: ImageFile): void {
    this.#parent = parent
    parent.#isParent = true
    const numbers = new Map(parent.opened.sections.map(({ name }, number) => [name, number]))
    this.#inParent = this.opened.sections.map(({ name }) => numbers.get(name))
    this.#checkCover()
  }

  /** This file and its parents, down to the full file. */
  get chain(): ImageFile[] {
    const files: ImageFile[] = []
    for (let file: ImageFile | undefined = this; file !== undefined; file = file.#parent) files.push(file)
    return files
  }

  get info(): ImageInfo {
    const { header, isDelta, layout, source, metadata, sections } = this.opened
    return {
      id: header.id,
      parentId: isDelta ? header.parentId : undefined,
      versionMajor: header.versionMajor,
      versionMinor: header.versionMinor,
      layout,
      frozenAtMs: Number(header.frozenAtNs) / 1e6,
      pageSize: header.pageSize,
      blockSize: header.blockSize,
      fileSize: source.length,
      allocatedBytes: source.allocatedBytes,
      metadata: metadata === '' ? undefined : metadata,
      sections: sections.map(({ name, byteLength, storedBytes, dataOffset }) => {
        return { name, byteLength, storedBytes, fileOffset: dataOffset }
      }),
    }
  }

  async close(): Promise<void> {
    for (const { opened } of this.chain) await opened.source.close()
  }

  /**
   * Reads blocks of at most one chunk. `out` has room for that many whole blocks; bytes after the
   * last page of the section are left unchanged.
   */
  async readBlocks(section: number, first: number, count: number, out: Buffer, check: Check): Promise<void> {
    // Each file provides the pages that the newer ones lack. The oldest is read first, so that
    // newer pages overwrite older ones.
    for (const { file, ...layer } of this.#layersOf(section, first, count).reverse()) {
      await file.#named(() => file.#readLayer(layer, first, out, check))
    }
  }

  /**
   * Like `readBlocks()`, for the pages of this file alone. Pages that a delta does not mention are
   * left unchanged.
   */
  async readOwnBlocks(
    section: number,
    first: number,
    count: number,
    out: Buffer,
    check: Check,
  ): Promise<void> {
    const { byteLength } = this.opened.sections[section] as Section
    const wanted = pagesOfBlocks(byteLength, first, count)
    const entries = this.#entriesOf(section, first, count)
    await this.#readLayer({ section, entries, wanted }, first, out, check)
  }

  /** Checks that the gaps around blocks are zero. */
  async checkGapsOfBlocks(section: number, first: number, count: number): Promise<void> {
    const { source, sections, layout } = this.opened
    const { name, byteLength, dataOffset, blockCount } = sections[section] as Section
    const entries = this.#entriesOf(section, first, count)
    if (layout === 'packed') {
      const last = entries.findLast(({ present }) => present !== 0n)
      if (last === undefined) return
      const end = last.fileOffset + last.storedLength
      await checkZeros(source, end, roundUp(end, pageSize) - end, '')
      return
    }
    for (const { present, block } of entries) {
      if (present !== 0n) continue
      const length = paddedBlockLength(byteLength, block)
      await checkZeros(source, dataOffset + block * blockSize, length, name)
    }
    if (first + count < blockCount) return
    const end = dataOffset + roundUp(byteLength, pageSize)
    await checkZeros(source, end, roundUp(dataOffset + byteLength, partAlignment) - end, '')
  }

  /** Checks that bytes outside of all sections are zero. */
  async checkOuterGaps(): Promise<void> {
    const { source, layout, index, trailer } = this.opened
    await checkZeros(source, pageSize, partAlignment - pageSize, '')
    if (layout === 'flat') return
    let end = partAlignment
    for (let position = 0; position < trailer.indexCount; position++) {
      const { present, fileOffset, storedLength } = index.at(position)
      if (present !== 0n) end = Math.max(end, fileOffset + storedLength)
    }
    end = roundUp(end, pageSize)
    await checkZeros(source, end, trailer.indexOffset - end, '')
  }

  /** Checks that the sums in this file match their checksum. */
  async checkSums(): Promise<void> {
    const { source, trailer } = this.opened
    const length = trailer.sumCount * sumSize
    const checksum = this.#tools.hashes.running()
    const window = Buffer.allocUnsafe(Math.min(sumWindow, length))
    for (let done = 0; done < length; done += window.length) {
      const piece = window.subarray(0, Math.min(window.length, length - done))
      await source.read(piece, this.#sumsOffset + done, '')
      checksum.update(piece)
    }
    if (checksum.value() === trailer.sumsChecksum) return
    throw this.#name(corrupt(this.#sumsOffset, '', 'the sums of the pages do not match their checksum'))
  }

  /**
   * Checks, once for all callers, that the sums of the chain add up to the frozen state. After
   * that, a page that matches its sum is known to be the page that was frozen.
   */
  async checkState(): Promise<void> {
    this.#stateChecked ??= this.#compareState()
    await this.#stateChecked
  }

  async #compareState(): Promise<void> {
    for (const file of this.chain) await file.checkSums()
    if (!(await this.holdsState())) throw this.wrongState()
  }

  /** True if the sums, which must have been checked, add up to the state. */
  async holdsState(onStep?: () => void): Promise<boolean> {
    const state = this.newState()
    for (const [section, { blockCount }] of this.opened.sections.entries()) {
      for (let first = 0; first < blockCount; first += blocksPerChunk) {
        onStep?.()
        const count = Math.min(blocksPerChunk, blockCount - first)
        const sums = await this.#sumsOfChunk(section, first, count)
        for (let i = 0; i < count; i++) {
          state.add(section, first + i, sums.subarray(i * sumsOfBlock, (i + 1) * sumsOfBlock))
        }
      }
    }
    return state.value.equals(this.opened.trailer.state)
  }

  wrongState(): ReadFailure {
    return corrupt(
      this.opened.trailer.fileLength - pageSize,
      '',
      this.#parent === undefined
        ? 'the file does not hold the memory that was frozen'
        : 'this file and those that it builds on do not add up to the memory that was frozen',
    )
  }

  /** Marks damage in a parent as such, since it is not in the file that the caller opened. */
  #name(error: ReadFailure): ReadFailure {
    return this.#isParent ? inParentFile(this.opened.source.name, error) : error
  }

  async #named(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      throw error instanceof ReadFailure ? this.#name(error) : error
    }
  }

  /**
   * Returns the reason of a problem in this file as it is reported for the file that the caller
   * opened.
   */
  reasonOf(reason: string): string {
    return this.#name(corrupt(0, '', reason)).message
  }

  get #sumsOffset(): number {
    const { indexOffset, indexCount } = this.opened.trailer
    return indexOffset + indexCount * entrySize
  }

  /** The existing entries of these blocks. */
  #entriesOf(number: number, first: number, count: number): BlockEntry[] {
    const { index, isDelta, sections } = this.opened
    const { firstEntry, entryCount } = sections[number] as Section
    const end = firstEntry + entryCount
    if (!isDelta) return index.slice(firstEntry + first, Math.min(firstEntry + first + count, end))
    const from = index.lowerBound(firstEntry, end, first)
    return index.slice(from, index.lowerBound(from, end, first + count))
  }

  /**
   * Checks that this file has entries for all pages that the parent lacks, so that no file can
   * claim more memory than it has entries for.
   */
  #checkCover(): void {
    const { sections, trailer } = this.opened
    for (const [number, { name, byteLength, blockCount }] of sections.entries()) {
      const parentLength = this.#sectionInParent(number)?.byteLength ?? 0
      const have = Math.ceil(parentLength / pageSize)
      if (have >= Math.ceil(byteLength / pageSize)) continue
      const first = Math.floor(have / pagesPerBlock)
      const count = blockCount - first
      const entries = this.#entryRange(number, first)
      let covers = entries.to - entries.from === count
      // The parent may have some pages of the first of these blocks.
      let theirs = (1n << BigInt(have % pagesPerBlock)) - 1n
      for (let at = entries.from; covers && at < entries.to; at++) {
        const { present, zero, block } = this.opened.index.at(at)
        covers = (present | zero | theirs) === (pagesOfBlock(byteLength, block) | theirs)
        theirs = 0n
      }
      if (covers) continue
      const reason = 'the section has pages that are neither in this file nor in its parent'
      throw corrupt(trailer.sectionsOffset, name, reason)
    }
  }

  /** The range of the entries of all blocks from `first` on. */
  #entryRange(number: number, first: number): { from: number; to: number } {
    const { firstEntry, entryCount } = this.opened.sections[number] as Section
    const to = firstEntry + entryCount
    return { from: this.opened.index.lowerBound(firstEntry, to, first), to }
  }

  #sectionInParent(number: number): Section | undefined {
    const inParent = this.#inParent[number]
    return inParent === undefined ? undefined : this.#parent?.opened.sections[inParent]
  }

  #layersOf(section: number, first: number, count: number): Layer[] {
    const layers: Layer[] = []
    let file: ImageFile = this
    let number = section
    let wanted = pagesOfBlocks((this.opened.sections[section] as Section).byteLength, first, count)
    for (;;) {
      const entries = file.#entriesOf(number, first, wanted.length)
      layers.push({ file, section: number, entries, wanted })
      if (!file.opened.isDelta) return layers
      const deeper = [...wanted]
      for (const { block, present, zero } of entries) {
        deeper[block - first] = (deeper[block - first] as bigint) & ~(present | zero)
      }
      const below = file.#sectionInParent(number)
      const has = below === undefined ? [] : pagesOfBlocks(below.byteLength, first, count)
      for (const [i, pages] of deeper.entries()) {
        if ((pages & ~(has[i] ?? 0n)) === 0n) continue
        const { sections, trailer } = file.opened
        const reason = `block ${first + i} has a page that is neither in this file nor in its parent`
        throw file.#name(corrupt(trailer.indexOffset, (sections[number] as Section).name, reason))
      }
      if (deeper.every((pages) => pages === 0n)) return layers
      wanted = deeper.slice(0, has.length)
      number = file.#inParent[number] as number
      file = file.#parent as ImageFile
    }
  }

  async #readLayer(layer: Omit<Layer, 'file'>, first: number, out: Buffer, check: Check): Promise<void> {
    if (this.opened.layout === 'flat') await this.#readFlat(layer, first, out, check)
    else await this.#readPacked(layer, first, out, check)
    if (check === 'sums') await this.#compareSums(layer, first, out)
  }

  async #readFlat(
    { section, entries, wanted }: Omit<Layer, 'file'>,
    first: number,
    out: Buffer,
    check: Check,
  ): Promise<void> {
    const { name, byteLength } = this.opened.sections[section] as Section
    const placeOf = ({ block }: BlockEntry): [from: number, to: number] => {
      const from = (block - first) * blockSize
      return [from, from + paddedBlockLength(byteLength, block)]
    }
    const taken = entries.filter((_, i) => wanted[i] !== undefined && wanted[i] !== 0n)
    for (let i = 0; i < taken.length; ) {
      const entry = taken[i] as BlockEntry
      const [from, to] = placeOf(entry)
      if (entry.present === 0n) {
        out.fill(0, from, to)
        i++
        continue
      }
      // Read a run of stored blocks at once, since they are contiguous.
      let end = i + 1
      while (taken[end]?.block === entry.block + end - i && taken[end]?.present !== 0n) end++
      const last = taken[end - 1] as BlockEntry
      await this.opened.source.read(out.subarray(from, placeOf(last)[1]), entry.fileOffset, name)
      for (; i < end; i++) {
        const one = taken[i] as BlockEntry
        if (check !== 'nothing') this.#checkFlatBlock(one, byteLength, out.subarray(...placeOf(one)))
      }
    }
  }

  #checkFlatBlock(entry: BlockEntry, byteLength: number, bytes: Buffer): void {
    if (this.#checksumOfPages(bytes, pagesIn(entry.present)) !== entry.checksum) {
      throw this.#damaged(entry, ' does not match its checksum')
    }
    let present = 0n
    for (let page = 0; page * pageSize < bytes.length; page++) {
      const isZero = areZero(bytes.subarray(page * pageSize, (page + 1) * pageSize))
      if (!isZero) present |= 1n << BigInt(page)
    }
    if (present !== entry.present) throw this.#damaged(entry, ' has zero pages that do not match the index')
    const used = Math.min(bytes.length, byteLength - entry.block * blockSize)
    if (!areZero(bytes.subarray(used))) throw this.#damaged(entry, ' extends beyond the end of its section')
  }

  async #readPacked(
    { section, entries, wanted }: Omit<Layer, 'file'>,
    first: number,
    out: Buffer,
    check: Check,
  ): Promise<void> {
    const { name, byteLength } = this.opened.sections[section] as Section
    const pagesOf = ({ present, block }: BlockEntry): bigint => present & (wanted[block - first] ?? 0n)
    const stored = entries.filter((entry) => pagesOf(entry) !== 0n)
    const [start, last] = [stored[0], stored.at(-1)]
    // Read the stored blocks of a chunk at once, since they are contiguous.
    const from = start?.fileOffset ?? 0
    const bytes = Buffer.allocUnsafe(last === undefined ? 0 : last.fileOffset + last.storedLength - from)
    await this.opened.source.read(bytes, from, name)
    for (const entry of entries) {
      const to = (entry.block - first) * blockSize
      for (const page of pagesIn(entry.zero & (wanted[entry.block - first] ?? 0n))) {
        out.fill(0, to + page * pageSize, to + (page + 1) * pageSize)
      }
      const pages = pagesOf(entry)
      if (pages === 0n) continue
      const at = entry.fileOffset - from
      const dense = this.#unpack(entry, byteLength, bytes.subarray(at, at + entry.storedLength), check)
      for (const [i, page] of pagesIn(entry.present).entries()) {
        if (((pages >> BigInt(page)) & 1n) === 0n) continue
        out.set(dense.subarray(i * pageSize, (i + 1) * pageSize), to + page * pageSize)
      }
    }
  }

  /** Returns the pages of a block that are in the file, without gaps. */
  #unpack(entry: BlockEntry, byteLength: number, stored: Buffer, check: Check): Uint8Array {
    if (check !== 'nothing' && this.#checksumOfStored(stored, entry) !== entry.checksum) {
      throw this.#damaged(entry, ' does not match its checksum')
    }
    const denseLength = countOf(entry.present) * pageSize
    const dense =
      entry.codec === zstdCodec ? this.#tools.decompressor.decompress(stored, denseLength) : stored
    if (dense === undefined) throw this.#damaged(entry, ' cannot be decompressed')
    if (check === 'nothing') return dense
    for (let at = 0; at < denseLength; at += pageSize) {
      if (!areZero(dense.subarray(at, at + pageSize))) continue
      throw this.#damaged(entry, ' has zero pages that do not match the index')
    }
    // Only the last page of the section can extend past its end.
    const length = paddedBlockLength(byteLength, entry.block)
    const behind = Math.max(0, length - (byteLength - entry.block * blockSize))
    const hasLastPage = ((entry.present >> BigInt(length / pageSize - 1)) & 1n) !== 0n
    if (!hasLastPage || areZero(dense.subarray(denseLength - behind))) return dense
    throw this.#damaged(entry, ' extends beyond the end of its section')
  }

  #checksumOfStored(stored: Uint8Array, { codec, present }: BlockEntry): bigint {
    if (codec === zstdCodec) return this.#tools.hashes.checksum(stored)
    return this.#checksumOfPages(stored, Array(countOf(present)).keys())
  }

  /** The checksum of a block that is stored as it is: of the sums of its pages in the file. */
  #checksumOfPages(bytes: Uint8Array, pages: Iterable<number>): bigint {
    const { hashes } = this.#tools
    const sums = Array.from(pages, (page) =>
      hashes.sum(bytes.subarray(page * pageSize, (page + 1) * pageSize)),
    )
    return hashes.checksum(...sums)
  }

  #damaged(entry: BlockEntry, how: string): ReadFailure {
    const { name } = this.opened.sections[entry.section] as Section
    return corrupt(entry.fileOffset, name, `block ${entry.block}${how}`)
  }

  /** Checks that the pages in `out` match their sums in the file. */
  async #compareSums({ entries, wanted }: Omit<Layer, 'file'>, first: number, out: Buffer): Promise<void> {
    const sums = await this.#sumsOf(entries)
    let at = 0
    for (const entry of entries) {
      const to = (entry.block - first) * blockSize
      const pages = wanted[entry.block - first] ?? 0n
      for (const page of pagesIn(entry.present)) {
        const sum = sums.subarray(at, at + sumSize)
        at += sumSize
        if (((pages >> BigInt(page)) & 1n) === 0n) continue
        const bytes = out.subarray(to + page * pageSize, to + (page + 1) * pageSize)
        if (sum.equals(this.#tools.hashes.sum(bytes))) continue
        const { name } = this.opened.sections[entry.section] as Section
        const place = this.#sumsOffset + this.#firstSumOf(entry) * sumSize
        throw corrupt(place, name, `block ${entry.block} has pages that do not match their sums`)
      }
    }
  }

  #firstSumOf({ position }: BlockEntry): number {
    const { firstSums, index } = this.opened
    const start = position - (position % blocksPerChunk)
    let sum = firstSums[start / blocksPerChunk] as number
    for (let i = start; i < position; i++) sum += countOf(index.at(i).present)
    return sum
  }

  /** Reads the sums of consecutive entries. */
  async #sumsOf(entries: readonly BlockEntry[]): Promise<Buffer> {
    const count = entries.reduce((total, { present }) => total + countOf(present), 0)
    const sums = Buffer.allocUnsafe(count * sumSize)
    const [first] = entries
    if (first === undefined || count === 0) return sums
    await this.opened.source.read(sums, this.#sumsOffset + this.#firstSumOf(first) * sumSize, '')
    return sums
  }

  /** Returns an empty sum for the state of this file together with its parents. */
  newState(): StateSum {
    return new StateSum(this.#tools.hashes)
  }

  /** Returns the sums of the pages of this file together with its parents, 64 for each block. */
  async #sumsOfChunk(section: number, first: number, count: number): Promise<Buffer> {
    const sums = Buffer.alloc(count * sumsOfBlock)
    for (const { file, entries, wanted } of this.#layersOf(section, first, count).reverse()) {
      const own = await file.#sumsOf(entries)
      let at = 0
      for (const { block, present } of entries) {
        const pages = wanted[block - first] ?? 0n
        for (const page of pagesIn(present)) {
          const isWanted = ((pages >> BigInt(page)) & 1n) !== 0n
          if (isWanted) own.copy(sums, (block - first) * sumsOfBlock + page * sumSize, at, at + sumSize)
          at += sumSize
        }
      }
    }
    return sums
  }
}

function pagesOfBlocks(byteLength: number, first: number, count: number): bigint[] {
  const last = Math.min(first + count, Math.ceil(byteLength / blockSize))
  const length = Math.max(0, last - first)
  return Array.from({ length }, (_, i) => pagesOfBlock(byteLength, first + i))
}

/** Converts a failure in a file to one that names it as a parent. */
export function inParentFile(name: string, error: ReadFailure): ReadFailure {
  const prefix = 'in the parent file '
  if (error.message.startsWith(prefix)) return error
  return new ReadFailure(error.failure, `${prefix}${name}: ${error.message}`, {
    errno: error.errno,
    errnoName: error.errnoName,
    syscall: error.syscall,
    offset: error.offset,
    section: error.section,
  })
}
