/**
 * Opens a file: reads everything but the pages, and checks each part before using it. The order is
 * that of `native/image/image_opener.cc`, so that both readers report the same reasons.
 */

import { Buffer, isUtf8 } from 'node:buffer'
import { measureJson } from '../base/metadata.js'
import { maxSections, type NativeReadLimits } from '../image/limits.js'
import { BlockIndex, windowEntries } from './block-index.js'
import { corrupt, ReadFailure } from './failure.js'
import {
  type BlockEntry,
  blockCountOf,
  blockSize,
  blocksPerChunk,
  countOf,
  entrySize,
  type Header,
  headerChecksumAt,
  headerMagic,
  type Layout,
  layouts,
  maxMetadataLength,
  maxNameLength,
  maxSectionLength,
  paddedBlockLength,
  pageSize,
  pagesOfBlock,
  partAlignment,
  readHeader,
  readRecord,
  readTrailer,
  recordSize,
  roundUp,
  type SectionRecord,
  type Trailer,
  trailerChecksumAt,
  trailerMagic,
  versionMajor,
  zstdCodec,
} from './format.js'
import { type Hashes, sumSize } from './hashes.js'
import type { ByteSource } from './source.js'
import { areZero, firstNotZero } from './zeros.js'

/** A section of an open file. */
export interface Section {
  readonly name: string
  readonly byteLength: number
  /** 0 in a packed file. */
  readonly dataOffset: number
  readonly blockCount: number
  readonly firstEntry: number
  readonly entryCount: number
  storedBytes: number
}

/** The parts of an open file that are held in memory. */
export interface Opened {
  readonly source: ByteSource
  readonly header: Header
  readonly isDelta: boolean
  readonly layout: Layout
  readonly trailer: Trailer
  readonly sections: readonly Section[]
  /** JSON text; '' if there is none. */
  readonly metadata: string
  readonly index: BlockIndex
  /** For every 16th index entry, the number of its first sum. */
  readonly firstSums: readonly number[]
}

/** Reads and checks everything but the pages and their sums. */
export async function openImage(
  source: ByteSource,
  limits: NativeReadLimits,
  hashes: Hashes,
): Promise<Opened> {
  const header = await checkedHeader(source, hashes)
  const layout = layouts[header.layout] as Layout
  const trailer = await checkedTrailer(source, header, hashes)
  const file = { source, header, isDelta: isDelta(header), layout, trailer }
  checkTail(trailer)
  const sections = await checkedSections(file, limits, hashes)
  const metadata = await checkedMetadata(file, limits, hashes)
  const opened = { ...file, sections, metadata, ...(await checkedIndex(file, sections, hashes)) }
  if (layout === 'packed') checkPlaces(opened)
  return opened
}

type File = Omit<Opened, 'sections' | 'metadata' | 'index' | 'firstSums'>

const isDelta = ({ parentId }: Header): boolean => !areZero(parentId)

/** True if a page matches the checksum that it contains. */
function sealHolds(page: Buffer, checksumAt: number, checksum: bigint, hashes: Hashes): boolean {
  const copy = Buffer.from(page)
  copy.fill(0, checksumAt, checksumAt + 8)
  return hashes.checksum(copy) === checksum
}

async function checkedHeader(source: ByteSource, hashes: Hashes): Promise<Header> {
  const have = Math.min(source.length, pageSize)
  const page = Buffer.alloc(have)
  await source.read(page, 0, '')
  if (!page.subarray(0, headerMagic.length).equals(headerMagic)) {
    throw new ReadFailure(
      'FORMAT',
      have === 0
        ? 'the file is empty, so it is not a snapshot'
        : 'this is not a stillframe snapshot (its first bytes differ)',
    )
  }
  if (have < pageSize) throw corrupt(have, '', 'the file ends in its header: it is truncated')
  const header = readHeader(page)
  // The header page and its checksum are the same in all versions, so the version can be trusted.
  if (!sealHolds(page, headerChecksumAt, header.checksum, hashes)) {
    throw corrupt(0, '', 'the header does not match its checksum')
  }
  if (header.versionMajor > versionMajor) {
    const version = `${header.versionMajor}.${header.versionMinor}`
    const message =
      `the file has format version ${version}, and this release reads only up to ${versionMajor}; ` +
      'update stillframe'
    throw new ReadFailure('VERSION', message)
  }
  if (layouts[header.layout] === undefined) {
    const message = `the file has layout ${header.layout}, which this release does not read; update stillframe`
    throw new ReadFailure('VERSION', message)
  }
  if (
    header.versionMajor === 0 ||
    header.headerLength !== pageSize ||
    header.pageSize !== pageSize ||
    header.blockSize !== blockSize
  ) {
    throw corrupt(0, '', 'the header has sizes that no version of the format has')
  }
  const parentHolds = isDelta(header)
    ? layouts[header.layout] === 'packed' && !header.parentId.equals(header.id)
    : areZero(header.parentState)
  if (!parentHolds) throw corrupt(0, '', 'the header names a parent that it cannot have')
  return header
}

async function checkedTrailer(source: ByteSource, header: Header, hashes: Hashes): Promise<Trailer> {
  const { length } = source
  const otherLength = 'the file is shorter or longer than it was written'
  const smallest = partAlignment + recordSize + pageSize
  // The length of an intact file is a safe integer: with a larger one, the index alone would fill
  // all disks.
  if (length < smallest || length % pageSize !== 0 || !Number.isSafeInteger(length)) {
    throw corrupt(length, '', otherLength)
  }
  const at = length - pageSize
  const page = Buffer.alloc(pageSize)
  await source.read(page, at, '')
  if (!page.subarray(0, trailerMagic.length).equals(trailerMagic)) {
    throw corrupt(at, '', 'there is no trailer at the end: the file is truncated, or bytes were added')
  }
  const trailer = readTrailer(page)
  if (!sealHolds(page, trailerChecksumAt, trailer.checksum, hashes)) {
    throw corrupt(at, '', 'the trailer does not match its checksum')
  }
  if (trailer.fileLength !== length) throw corrupt(at, '', otherLength)
  if (!trailer.id.equals(header.id)) throw corrupt(at, '', 'header and trailer belong to different files')
  return trailer
}

/**
 * Checks the trailer. Counts are bounded before they are multiplied, added or used for allocations.
 */
function checkTail(trailer: Trailer): void {
  const trailerAt = trailer.fileLength - pageSize
  const { indexOffset, indexCount, sumCount, sectionsOffset, sectionCount, namesLength } = trailer
  const { metadataOffset, metadataLength } = trailer
  const areBounded =
    sectionCount >= 1 &&
    sectionCount <= maxSections &&
    namesLength <= sectionCount * maxNameLength &&
    metadataLength <= maxMetadataLength &&
    indexCount <= maxSectionLength &&
    sumCount <= maxSectionLength
  if (!areBounded) throw corrupt(trailerAt, '', 'the trailer has counts beyond all limits')
  const indexLength = indexCount * entrySize
  const sumsLength = sumCount * sumSize
  const inOrder =
    indexOffset % partAlignment === 0 &&
    indexOffset >= partAlignment &&
    indexOffset <= trailerAt &&
    indexLength <= trailerAt - indexOffset &&
    sumsLength <= trailerAt - indexOffset - indexLength &&
    sectionsOffset === indexOffset + indexLength + sumsLength &&
    metadataOffset === sectionsOffset + sectionCount * recordSize + namesLength &&
    roundUp(metadataOffset + metadataLength, pageSize) === trailerAt
  if (!inOrder) throw corrupt(trailerAt, '', 'the trailer does not describe this file')
}

/** Throws if `found` exceeds what the caller allows; `limit` is the name of the option. */
function checkLimit(found: number, allowed: number, what: string, limit: keyof NativeReadLimits): void {
  if (found <= allowed) return
  const message = `the file has ${found}${what}, more than limits.${limit} allows (${allowed})`
  throw new ReadFailure('OUT_OF_RANGE', message)
}

async function checkedSections(file: File, limits: NativeReadLimits, hashes: Hashes): Promise<Section[]> {
  const { sectionsOffset, sectionCount, namesLength, sectionsChecksum } = file.trailer
  checkLimit(sectionCount, limits.sections, ' sections', 'sections')
  const table = Buffer.alloc(sectionCount * recordSize + namesLength)
  await file.source.read(table, sectionsOffset, '')
  if (hashes.checksum(table) !== sectionsChecksum) {
    throw corrupt(sectionsOffset, '', 'the section table does not match its checksum')
  }
  const records = Array.from({ length: sectionCount }, (_, index) => readRecord(table, index))
  const names = namesOf(records, table.subarray(sectionCount * recordSize), sectionsOffset)
  return placeSections(file, records, names)
}

function namesOf(records: readonly SectionRecord[], bytes: Buffer, sectionsOffset: number): string[] {
  const taken = new Set<string>()
  let nameOffset = 0
  for (const [index, record] of records.entries()) {
    const at = sectionsOffset + index * recordSize
    const { nameLength } = record
    if (
      nameLength === 0 ||
      nameLength > maxNameLength ||
      record.nameOffset !== nameOffset ||
      nameLength > bytes.length - nameOffset
    ) {
      throw corrupt(at, '', "a section's name is outside the table of names")
    }
    const text = bytes.subarray(nameOffset, nameOffset + nameLength)
    nameOffset += nameLength
    if (!isUtf8(text) || text.includes(0)) throw corrupt(at, '', "a section's name is not UTF-8")
    const name = text.toString()
    if (taken.has(name)) throw corrupt(at, name, 'two sections have the same name')
    taken.add(name)
    if (record.byteLength > maxSectionLength) {
      throw corrupt(at, name, 'the section is larger than an address space')
    }
  }
  if (nameOffset !== bytes.length) throw corrupt(sectionsOffset, '', 'there are names without a section')
  return [...taken]
}

/**
 * The format leaves the writer no choice of where sections are, nor of how many entries they have.
 */
function placeSections(file: File, records: readonly SectionRecord[], names: readonly string[]): Section[] {
  const { trailer, layout, isDelta } = file
  const planned = records.map(({ byteLength }) => ({ dataOffset: 0, blockCount: blockCountOf(byteLength) }))
  let blockTotal = 0
  let dataEnd = partAlignment
  for (const [index, plan] of planned.entries()) {
    if (layout === 'flat') plan.dataOffset = dataEnd
    blockTotal += plan.blockCount
    dataEnd = roundUp(dataEnd + (records[index] as SectionRecord).byteLength, partAlignment)
  }
  // The size of a packed file's blocks is not known yet; it is at most their size in a flat file.
  const tailFits = layout === 'flat' ? trailer.indexOffset === dataEnd : trailer.indexOffset <= dataEnd
  const indexFits = isDelta ? trailer.indexCount <= blockTotal : trailer.indexCount === blockTotal
  if (!tailFits || !indexFits) {
    throw corrupt(trailer.fileLength - pageSize, '', 'sections and index do not fit together')
  }
  let entries = 0
  const sections = records.map((record, index): Section => {
    const { byteLength, firstEntry, entryCount } = record
    const { dataOffset, blockCount } = planned[index] as (typeof planned)[number]
    const name = names[index] as string
    const lists = isDelta ? entryCount <= blockCount : entryCount === blockCount
    if (
      record.dataOffset !== dataOffset ||
      firstEntry !== entries ||
      !lists ||
      entryCount > trailer.indexCount - entries
    ) {
      const at = trailer.sectionsOffset + index * recordSize
      throw corrupt(at, name, 'the section is at an impossible offset')
    }
    entries += entryCount
    return { name, byteLength, dataOffset, blockCount, firstEntry, entryCount, storedBytes: 0 }
  })
  if (entries === trailer.indexCount) return sections
  throw corrupt(trailer.sectionsOffset, '', 'there are index entries without a section')
}

async function checkedMetadata(file: File, limits: NativeReadLimits, hashes: Hashes): Promise<string> {
  const { metadataOffset, metadataLength, metadataChecksum, fileLength } = file.trailer
  checkLimit(metadataLength, limits.metadataBytes, ' bytes of metadata', 'metadataBytes')
  const bytes = Buffer.alloc(metadataLength)
  await file.source.read(bytes, metadataOffset, '')
  if (hashes.checksum(bytes) !== metadataChecksum) {
    throw corrupt(metadataOffset, '', 'the metadata does not match its checksum')
  }
  if (!isUtf8(bytes) || bytes.includes(0)) throw corrupt(metadataOffset, '', 'the metadata is not UTF-8')
  const text = bytes.toString()
  const { values, depth } = measureJson(text)
  checkLimit(values, limits.metadataValues, ' values in its metadata', 'metadataValues')
  checkLimit(depth, limits.metadataDepth, ' levels of nesting in its metadata', 'metadataDepth')
  const end = metadataOffset + metadataLength
  const padding = Buffer.alloc(fileLength - pageSize - end)
  await file.source.read(padding, end, '')
  const bad = firstNotZero(padding)
  if (bad === padding.length) return text
  throw corrupt(end + bad, '', 'there are bytes where the file must be zero')
}

/**
 * Each entry contains its own position, so a hole in the index is refused at its first entry,
 * before more of the index is read or allocated.
 */
async function checkedIndex(
  file: File,
  sections: readonly Section[],
  hashes: Hashes,
): Promise<Pick<Opened, 'index' | 'firstSums'>> {
  const { indexOffset, indexCount, indexChecksum, sumCount } = file.trailer
  const index = new BlockIndex()
  const firstSums: number[] = []
  let number = 0
  let leastBlock = 0
  let sums = 0
  for (let checked = 0; checked < indexCount; ) {
    const count = Math.min(windowEntries, indexCount - checked)
    const window = Buffer.alloc(count * entrySize)
    await file.source.read(window, indexOffset + checked * entrySize, '')
    index.add(window)
    for (const end = checked + count; checked < end; checked++) {
      let section = sections[number] as Section
      while (checked - section.firstEntry === section.entryCount) {
        section = sections[++number] as Section
        leastBlock = 0
      }
      const entry = index.at(checked)
      if (!isWriters(entry, file, section, number, leastBlock)) {
        const block = file.isDelta ? entry.block : leastBlock
        const reason = `the index entry of block ${block} is not one that a writer would make`
        throw corrupt(indexOffset + checked * entrySize, section.name, reason)
      }
      leastBlock = entry.block + 1
      section.storedBytes += entry.storedLength
      if (checked % blocksPerChunk === 0) firstSums.push(sums)
      sums += countOf(entry.present)
    }
  }
  if (hashes.checksum(...index.windows) !== indexChecksum) {
    throw corrupt(indexOffset, '', 'the index does not match its checksum')
  }
  if (sums !== sumCount) throw corrupt(indexOffset, '', 'there are more or fewer sums than pages')
  return { index, firstSums }
}

/** True if a writer would make this entry at its position. */
function isWriters(
  entry: BlockEntry,
  { isDelta, layout }: File,
  section: Section,
  number: number,
  leastBlock: number,
): boolean {
  const { present, zero, block } = entry
  if (entry.section !== number || block >= section.blockCount || entry.reserved !== 0) return false
  if (isDelta ? block < leastBlock : block !== leastBlock) return false
  // A full file covers every page of the block, a delta at least one.
  const all = pagesOfBlock(section.byteLength, block)
  const told = present | zero
  if (isDelta ? told === 0n || (told & ~all) !== 0n : told !== all) return false
  if ((present & zero) !== 0n) return false
  if (present === 0n) {
    return entry.fileOffset === 0 && entry.storedLength === 0 && entry.checksum === 0n && entry.codec === 0
  }
  if (layout === 'flat') {
    return (
      entry.codec === 0 &&
      entry.storedLength === paddedBlockLength(section.byteLength, block) &&
      entry.fileOffset === section.dataOffset + block * blockSize
    )
  }
  const dense = countOf(present) * pageSize
  if (entry.codec === 0) return entry.storedLength === dense
  return entry.codec === zstdCodec && entry.storedLength > 0 && entry.storedLength < dense
}

/** Checks that the pieces of a packed file follow each other without gaps or overlaps. */
function checkPlaces({ index, sections, trailer }: Omit<Opened, 'metadata' | 'firstSums'>): void {
  const { indexOffset, indexCount } = trailer
  const refuse = (entry: BlockEntry): never => {
    const name = (sections[entry.section] as Section).name
    const reason = `block ${entry.block} is where no writer would put it`
    throw corrupt(indexOffset + entry.position * entrySize, name, reason)
  }
  const pieces: { start: number; end: number; first: BlockEntry }[] = []
  let last: BlockEntry | undefined
  for (let position = 0; position < indexCount; position++) {
    const entry = index.at(position)
    if (entry.present === 0n) continue
    const isSame =
      last?.section === entry.section &&
      Math.floor(last.block / blocksPerChunk) === Math.floor(entry.block / blocksPerChunk)
    // Bound the offset before adding to it.
    if (entry.fileOffset > indexOffset) refuse(entry)
    if (!isSame) pieces.push({ start: entry.fileOffset, end: entry.fileOffset, first: entry })
    const piece = pieces.at(-1) as (typeof pieces)[number]
    if (entry.fileOffset !== piece.end) refuse(entry)
    piece.end += entry.storedLength
    last = entry
  }
  pieces.sort((a, b) => a.start - b.start)
  let at = partAlignment
  for (const { start, end, first } of pieces) {
    if (start !== at) refuse(first)
    at = roundUp(end, pageSize)
  }
  if (roundUp(at, partAlignment) === indexOffset) return
  throw corrupt(indexOffset, '', 'the index is where no writer would put it')
}
