#!/usr/bin/env node
// Shows an image file field by field: offset, bytes, name, value. The worked example in
// docs/FORMAT.md is its output for the golden file, which test/restore/format.test.ts verifies.
//
//   node scripts/dump-image.mjs FILE [PARENT...]
//
// The parents of a delta follow it in order: first the file that it builds on, then that file's
// parent, down to the full file. Without them, the contents of the delta are shown and checked, but
// not the memory that they result in. A file ending in .gz is unpacked first.
//
// Written from docs/FORMAT.md alone, without any code of the reader in native/image/: a second
// opinion. It checks only the checksums, and only if xxhash-addon (a development dependency) is
// installed.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'

const pageSize = 4096
const blockSize = 262_144

/**
 * The structs of the format: the name, length in bytes and type of each field, in order of offset.
 */
export const structs = {
  header: [
    ['magic', 8, 'text'],
    ['version_major', 2, 'number'],
    ['version_minor', 2, 'number'],
    ['header_length', 4, 'number'],
    ['id', 16, 'hex'],
    ['parent_id', 16, 'hex'],
    ['layout', 4, 'number'],
    ['page_size', 4, 'number'],
    ['block_size', 4, 'number'],
    ['reserved', 4, 'number'],
    ['frozen_at_ns', 8, 'time'],
    ['parent_state', 16, 'hex128'],
    ['checksum', 8, 'hex64'],
  ],
  entry: [
    ['file_offset', 8, 'number'],
    ['present', 8, 'hex64'],
    ['zero', 8, 'hex64'],
    ['checksum', 8, 'hex64'],
    ['section', 4, 'number'],
    ['block', 4, 'number'],
    ['stored_length', 4, 'number'],
    ['codec', 2, 'number'],
    ['reserved', 2, 'number'],
  ],
  section: [
    ['byte_length', 8, 'number'],
    ['data_offset', 8, 'number'],
    ['first_entry', 8, 'number'],
    ['entry_count', 8, 'number'],
    ['name_offset', 4, 'number'],
    ['name_length', 4, 'number'],
    ['reserved', 24, 'hex'],
  ],
  trailer: [
    ['magic', 8, 'text'],
    ['id', 16, 'hex'],
    ['file_length', 8, 'number'],
    ['index_offset', 8, 'number'],
    ['index_count', 8, 'number'],
    ['index_checksum', 8, 'hex64'],
    ['sum_count', 8, 'number'],
    ['sums_checksum', 8, 'hex64'],
    ['state', 16, 'hex128'],
    ['sections_offset', 8, 'number'],
    ['section_count', 8, 'number'],
    ['names_length', 8, 'number'],
    ['sections_checksum', 8, 'hex64'],
    ['metadata_offset', 8, 'number'],
    ['metadata_length', 8, 'number'],
    ['metadata_checksum', 8, 'hex64'],
    ['checksum', 8, 'hex64'],
  ],
}

/** Size of a struct, in bytes. */
const sizeOf = (kind) => structs[kind].reduce((sum, [, length]) => sum + length, 0)
const sumSize = 16

/** The fields of one struct, with their offsets in the file. */
function readStruct(file, kind, start) {
  let offset = start
  const fields = []
  /** @type {Record<string, any>} */
  const values = {}
  for (const [name, length, type] of structs[kind]) {
    const bytes = file.subarray(offset, offset + length)
    values[name] = fieldValue(bytes, type)
    fields.push({ offset, bytes, name, text: fieldText(values[name], type) })
    offset += length
  }
  return { kind, start, fields, values }
}

function fieldValue(bytes, type) {
  if (type === 'text') return bytes.toString('latin1')
  if (type === 'hex') return bytes.toString('hex')
  if (type === 'time') return bytes.readBigInt64LE()
  if (type === 'hex128') return bytes.readBigUInt64LE() | (bytes.readBigUInt64LE(8) << 64n)
  const value = bytes.length === 8 ? bytes.readBigUInt64LE() : BigInt(bytes.readUIntLE(0, bytes.length))
  return type === 'hex64' ? value : Number(value)
}

function fieldText(value, type) {
  if (type === 'text') return JSON.stringify(value).replaceAll('\u0089', '\\x89')
  if (type === 'hex64') return `0x${value.toString(16).padStart(16, '0')}`
  if (type === 'hex128') return `0x${value.toString(16).padStart(32, '0')}`
  if (type === 'time') return new Date(Number(value / 1_000_000n)).toISOString()
  return String(value)
}

/** The numbers of the pages whose bits are set. */
const pagesOf = (bits) =>
  Array.from({ length: 64 }, (_, page) => page).filter((page) => (bits >> BigInt(page)) & 1n)

/**
 * Parses a well-formed image: all structs, its sums, its texts and its memory.
 *
 * @param {Buffer} file
 * @param {any} [parent] - for a delta: the result of this function for the file that it builds on.
 *   Without it the sections of a delta have no `bytes`.
 */
export function parseImage(file, parent) {
  const header = readStruct(file, 'header', 0)
  const trailer = readStruct(file, 'trailer', file.length - pageSize)
  const at = trailer.values
  const isDelta = /[^0]/.test(header.values.parent_id)
  const entries = []
  for (let i = 0; i < at.index_count; i++)
    entries.push(readStruct(file, 'entry', at.index_offset + i * sizeOf('entry')))
  const sums = []
  let offset = at.index_offset + at.index_count * sizeOf('entry')
  entries.forEach(({ values }, entry) => {
    for (const page of pagesOf(values.present)) {
      const bytes = file.subarray(offset, offset + sumSize)
      sums.push({ entry, page, offset, bytes, value: fieldValue(bytes, 'hex128') })
      offset += sumSize
    }
  })
  const sections = []
  for (let i = 0; i < at.section_count; i++) {
    const section = readStruct(file, 'section', at.sections_offset + i * sizeOf('section'))
    const start = at.sections_offset + at.section_count * sizeOf('section') + section.values.name_offset
    const name = file.toString('utf8', start, start + section.values.name_length)
    const { first_entry, entry_count, byte_length, data_offset } = section.values
    const own = entries.slice(first_entry, first_entry + entry_count)
    const below = parent?.sections.find((candidate) => candidate.name === name)?.bytes
    let bytes
    if (header.values.layout === 0) bytes = file.subarray(data_offset, data_offset + byte_length)
    else if (!isDelta || parent !== undefined) bytes = unpackSection(file, byte_length, own, below)
    sections.push({ ...section, name, bytes })
  }
  const metadata = file.toString('utf8', at.metadata_offset, at.metadata_offset + at.metadata_length)
  return { header, isDelta, entries, sums, sections, metadata, trailer }
}

/** The memory of a section of a packed file: its entries, applied over the parent's memory. */
function unpackSection(file, byteLength, entries, below = Buffer.alloc(0)) {
  const memory = Buffer.alloc(Math.ceil(byteLength / blockSize) * blockSize)
  below.copy(memory, 0, 0, Math.min(below.length, byteLength))
  for (const { values } of entries) {
    const place = (page) => values.block * blockSize + page * pageSize
    for (const page of pagesOf(values.zero)) memory.fill(0, place(page), place(page) + pageSize)
    storedPages(file, values).forEach((bytes, i) => {
      bytes.copy(memory, place(pagesOf(values.present)[i]))
    })
  }
  return memory.subarray(0, byteLength)
}

/** The pages of a block that are stored in the file. */
function storedPages(file, { present, file_offset, stored_length, codec }) {
  if (present === 0n) return []
  const stored = file.subarray(file_offset, file_offset + stored_length)
  const pages = Buffer.from(codec === 1 ? zstd().decompress(stored) : stored)
  return pagesOf(present).map((_, i) => pages.subarray(i * pageSize, (i + 1) * pageSize))
}

/** A development dependency, needed only for packed files. */
const zstd = () => createRequire(import.meta.url)('fzstd')

/**
 * Every checksum of an image except that of its state: its offset, its width in bits, its stored
 * value, and the bytes that it covers.
 */
export function checksumsOf(file, { header, entries, sums, sections, trailer }) {
  const at = trailer.values
  const sealed = (kind, start) => {
    const page = Buffer.from(file.subarray(start, start + pageSize))
    page.fill(0, sizeOf(kind) - 8, sizeOf(kind))
    return page
  }
  const part = (start, length) => file.subarray(start, start + length)
  const checksums = [
    ['header', 64, header.values.checksum, sealed('header', 0)],
    ['trailer', 64, at.checksum, sealed('trailer', trailer.start)],
    ['index', 64, at.index_checksum, part(at.index_offset, at.index_count * sizeOf('entry'))],
    [
      'sums',
      64,
      at.sums_checksum,
      part(at.index_offset + at.index_count * sizeOf('entry'), at.sum_count * sumSize),
    ],
    [
      'section table',
      64,
      at.sections_checksum,
      part(at.sections_offset, at.section_count * sizeOf('section') + at.names_length),
    ],
    ['metadata', 64, at.metadata_checksum, part(at.metadata_offset, at.metadata_length)],
  ]
  const isFlat = header.values.layout === 0
  entries.forEach(({ values }, entry) => {
    if (values.present === 0n) return
    const name = `block ${values.block} of '${sections[values.section].name}'`
    const own = sums.filter((sum) => sum.entry === entry)
    const covered =
      values.codec === 0
        ? Buffer.concat(own.map(({ bytes }) => bytes))
        : part(values.file_offset, values.stored_length)
    checksums.push([name, 64, values.checksum, covered])
    const inOrder = isFlat ? undefined : storedPages(file, values)
    own.forEach(({ page, value }, i) => {
      const bytes = inOrder?.[i] ?? part(values.file_offset + page * pageSize, pageSize)
      checksums.push([`page ${page} of ${name}`, 128, value, bytes])
    })
  })
  return checksums.map(([name, bits, stored, bytes]) => ({ name, bits, stored, bytes }))
}

/**
 * The checksum of the state, computed from the memory. `hash128` returns the XXH3-128 of bytes as a
 * number. Undefined for a delta without its parents.
 */
export function stateOf({ sections }, hash128) {
  const mask = (1n << 64n) - 1n
  let [low, high] = [0n, 0n]
  for (const [index, { bytes }] of sections.entries()) {
    if (bytes === undefined) return undefined
    for (let block = 0; block * blockSize < bytes.length; block++) {
      const memory = Buffer.alloc(blockSize)
      bytes.copy(memory, 0, block * blockSize, (block + 1) * blockSize)
      if (memory.every((byte) => byte === 0)) continue
      const placed = Buffer.alloc(8 + 64 * sumSize)
      placed.writeUInt32LE(index, 0)
      placed.writeUInt32LE(block, 4)
      for (let page = 0; page < 64; page++) {
        const content = memory.subarray(page * pageSize, (page + 1) * pageSize)
        const sum = content.every((byte) => byte === 0) ? 0n : hash128(content)
        placed.writeBigUInt64LE(sum & mask, 8 + page * sumSize)
        placed.writeBigUInt64LE(sum >> 64n, 16 + page * sumSize)
      }
      const sum = hash128(placed)
      low = (low + sum) & mask
      high = (high + (sum >> 64n)) & mask
    }
  }
  return low | (high << 64n)
}

/** The dump, one line per field. */
export function dumpImage(file) {
  const image = parseImage(file)
  const lines = []
  const show = ({ fields }, title) => {
    if (title !== undefined) lines.push('', title)
    for (const { offset, bytes, name, text } of fields) {
      // Eight bytes per line; the first line has the name and the value.
      for (let i = 0; i < bytes.length; i += 8) {
        const hex = [...bytes.subarray(i, i + 8)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
        const address = (offset + i).toString(16).padStart(8, '0')
        lines.push(`${address}  ${hex.padEnd(23)}  ${i === 0 ? `${name.padEnd(18)}${text}` : ''}`.trimEnd())
      }
    }
  }
  const text = (start, value, title) => {
    lines.push('', title)
    const bytes = Buffer.from(value)
    for (let i = 0; i < bytes.length; i += 16) {
      const piece = bytes.subarray(i, i + 16)
      const hex = [...piece].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
      const shown = piece.toString('latin1').replace(/[^ -~]/g, '.')
      lines.push(`${(start + i).toString(16).padStart(8, '0')}  ${hex.padEnd(47)}  ${shown}`.trimEnd())
    }
  }
  show(image.header, 'header')
  image.entries.forEach((entry, i) => {
    show(entry, `index entry ${i}`)
  })
  image.sums.forEach(({ entry, page, offset, bytes, value }, i) => {
    const field = { offset, bytes, name: `page ${page}`, text: fieldText(value, 'hex128') }
    if (image.sums[i - 1]?.entry !== entry) show({ fields: [field] }, `sums of index entry ${entry}`)
    else show({ fields: [field] })
  })
  image.sections.forEach((section, i) => {
    show(section, `section record ${i}, '${section.name}'`)
  })
  const { values } = image.trailer
  text(
    values.sections_offset + sizeOf('section') * values.section_count,
    image.sections.map(({ name }) => name).join(''),
    'names',
  )
  text(values.metadata_offset, image.metadata, 'metadata')
  show(image.trailer, 'trailer')
  return lines.slice(1).join('\n')
}

/**
 * The checksums that do not match, and `'state'` for the checksum of the state. Undefined if they
 * cannot be checked.
 */
function wrongChecksums(file, image) {
  let hashes
  try {
    hashes = createRequire(import.meta.url)('xxhash-addon')
  } catch {
    return undefined
  }
  const hash = (bytes, bits) => {
    const digest = (bits === 128 ? hashes.XXHash128 : hashes.XXHash3).hash(Buffer.from(bytes))
    return BigInt(`0x${digest.toString('hex')}`)
  }
  const wrong = checksumsOf(file, image)
    .filter(({ bits, stored, bytes }) => hash(bytes, bits) !== stored)
    .map(({ name }) => name)
  const state = stateOf(image, (bytes) => hash(bytes, 128))
  return state === undefined || state === image.trailer.values.state ? wrong : [...wrong, 'state']
}

/**
 * Parses the file with the files that it builds on; undefined if these are not the ones it names.
 */
function parseChain([file, ...parents]) {
  const image = parseImage(file)
  if (!image.isDelta || parents.length === 0) return image
  const parent = parseChain(parents)
  const { parent_id, parent_state } = image.header.values
  const named = parent?.header.values.id === parent_id && parent.trailer.values.state === parent_state
  return named ? parseImage(file, parent) : undefined
}

function main(paths) {
  if (paths.length === 0) {
    console.error('usage: dump-image.mjs FILE [PARENT...]')
    return 2
  }
  const files = paths.map((path) => {
    const bytes = readFileSync(path)
    return path.endsWith('.gz') ? gunzipSync(bytes) : bytes
  })
  console.log(dumpImage(files[0]))
  const image = parseChain(files)
  if (image === undefined) {
    console.log('\nthese are not the files that it builds on')
    return 1
  }
  const wrong = wrongChecksums(files[0], image)
  if (wrong === undefined) {
    console.log('\nxxhash-addon is not installed: checksums not compared')
    return 0
  }
  if (wrong.length > 0) console.log(`\nwrong checksums: ${wrong.join(', ')}`)
  else if (image.sections.every(({ bytes }) => bytes !== undefined)) console.log('\nall checksums hold')
  else console.log('\nall checksums hold; that of the state can only be told with the parents')
  return wrong.length > 0 ? 1 : 0
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  process.exitCode = main(process.argv.slice(2))
