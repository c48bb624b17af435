#!/usr/bin/env node
// Shows an image file field by field: offset, bytes, name, value. The worked example in docs/FORMAT.md is its
// output on the golden file, and test/restore/format.test.ts sees to it that it stays so.
//
//   node scripts/dump-image.mjs FILE            a file ending in .gz is unpacked first
//
// Written from docs/FORMAT.md alone, and sharing no code with the reader in native/image/: a second opinion.
// It checks nothing but the checksums, and those only where xxhash-addon (a development dependency) is installed.

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import { gunzipSync } from 'node:zlib'

const pageSize = 4096
const blockSize = 262_144

/** The structs of the format: name, bytes, and how to read a field. Its order gives the offsets. */
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
    ['checksum', 8, 'hex64'],
  ],
  entry: [
    ['file_offset', 8, 'number'],
    ['present', 8, 'hex64'],
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
    ['block_count', 8, 'number'],
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
  const value = bytes.length === 8 ? bytes.readBigUInt64LE() : BigInt(bytes.readUIntLE(0, bytes.length))
  return type === 'hex64' ? value : Number(value)
}

function fieldText(value, type) {
  if (type === 'text') return JSON.stringify(value).replaceAll('\u0089', '\\x89')
  if (type === 'hex64') return `0x${value.toString(16).padStart(16, '0')}`
  if (type === 'time') return new Date(Number(value / 1_000_000n)).toISOString()
  return String(value)
}

/** All structs of a well-formed image, and its texts. */
export function parseImage(file) {
  const header = readStruct(file, 'header', 0)
  const trailer = readStruct(file, 'trailer', file.length - pageSize)
  const at = trailer.values
  const entries = []
  for (let i = 0; i < at.index_count; i++) entries.push(readStruct(file, 'entry', at.index_offset + i * 40))
  const sections = []
  for (let i = 0; i < at.section_count; i++) {
    const section = readStruct(file, 'section', at.sections_offset + i * 64)
    const start = at.sections_offset + at.section_count * 64 + section.values.name_offset
    const name = file.toString('utf8', start, start + section.values.name_length)
    const { data_offset, byte_length } = section.values
    const bytes =
      header.values.layout === 1
        ? unpackSection(file, section.values, entries)
        : file.subarray(data_offset, data_offset + byte_length)
    sections.push({ ...section, name, bytes })
  }
  const metadata = file.toString('utf8', at.metadata_offset, at.metadata_offset + at.metadata_length)
  return { header, entries, sections, metadata, trailer }
}

/** The memory of a section of a packed file: its pages that are not zero, each block by itself. */
function unpackSection(file, { byte_length, first_entry, block_count }, entries) {
  const memory = Buffer.alloc(block_count * blockSize)
  for (let block = 0; block < block_count; block++) {
    const { present, file_offset, stored_length, codec } = entries[first_entry + block].values
    if (present === 0n) continue
    const stored = file.subarray(file_offset, file_offset + stored_length)
    const pages = Buffer.from(codec === 1 ? zstd().decompress(stored) : stored)
    let from = 0
    for (let page = 0; page < 64; page++) {
      if (((present >> BigInt(page)) & 1n) === 0n) continue
      pages.copy(memory, block * blockSize + page * pageSize, from, from + pageSize)
      from += pageSize
    }
  }
  return memory.subarray(0, byte_length)
}

/** A development dependency, needed for packed files only. */
const zstd = () => createRequire(import.meta.url)('fzstd')

/** Every checksum of an image: where it stands, what it says, and over which bytes. */
export function checksumsOf(file, { header, entries, sections, trailer }) {
  const at = trailer.values
  const sealed = (start, field) => {
    const page = Buffer.from(file.subarray(start, start + pageSize))
    page.fill(0, field, field + 8)
    return page
  }
  const part = (start, length) => file.subarray(start, start + length)
  const sums = [
    ['header', header.values.checksum, sealed(0, 72)],
    ['trailer', at.checksum, sealed(trailer.start, 112)],
    ['index', at.index_checksum, part(at.index_offset, at.index_count * 40)],
    [
      'section table',
      at.sections_checksum,
      part(at.sections_offset, at.section_count * 64 + at.names_length),
    ],
    ['metadata', at.metadata_checksum, part(at.metadata_offset, at.metadata_length)],
  ]
  for (const { values } of entries) {
    if (values.present === 0n) continue
    const name = `block ${values.block} of '${sections[values.section].name}'`
    sums.push([name, values.checksum, part(values.file_offset, values.stored_length)])
  }
  return sums.map(([name, stored, bytes]) => ({ name, stored, bytes }))
}

/** The dump, a line a field. */
export function dumpImage(file) {
  const image = parseImage(file)
  const lines = []
  const show = ({ fields }, title) => {
    lines.push('', title)
    for (const { offset, bytes, name, text } of fields) {
      // Eight bytes a line; the name and the value stand in the first.
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
  image.sections.forEach((section, i) => {
    show(section, `section record ${i}, '${section.name}'`)
  })
  const { values } = image.trailer
  text(
    values.sections_offset + 64 * values.section_count,
    image.sections.map(({ name }) => name).join(''),
    'names',
  )
  text(values.metadata_offset, image.metadata, 'metadata')
  show(image.trailer, 'trailer')
  return lines.slice(1).join('\n')
}

/** What keeps a file from being what it says: the checksums that do not hold; undefined when it cannot be told. */
function wrongChecksums(file) {
  let XXHash3
  try {
    XXHash3 = createRequire(import.meta.url)('xxhash-addon').XXHash3
  } catch {
    return undefined
  }
  return checksumsOf(file, parseImage(file))
    .filter(({ stored, bytes }) => XXHash3.hash(bytes).readBigUInt64BE() !== stored)
    .map(({ name }) => name)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const path = process.argv[2]
  if (path === undefined) {
    console.error('usage: dump-image.mjs FILE')
    process.exit(2)
  }
  const bytes = readFileSync(path)
  const file = path.endsWith('.gz') ? gunzipSync(bytes) : bytes
  console.log(dumpImage(file))
  const wrong = wrongChecksums(file)
  if (wrong === undefined) console.log('\nxxhash-addon is not installed: checksums not compared')
  else console.log(wrong.length === 0 ? '\nall checksums hold' : `\nwrong checksums: ${wrong.join(', ')}`)
  process.exitCode = wrong?.length ? 1 : 0
}
