/**
 * Contents of the golden files. They never change, since files that were written years ago are
 * compared with them. When the format gains a new feature, it gets a new entry here, and a new
 * file.
 */

/** `length` bytes, none of them zero, no two pages alike. */
function pattern(length) {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = ((i * 31 + (i >>> 8) * 7) & 255) | 1
  return bytes
}

/** Zeros, with ones at these offsets. */
function sparse(length, ...offsets) {
  const bytes = new Uint8Array(length)
  for (const offset of offsets) bytes[offset] = 1
  return bytes
}

/** Text that compresses to almost nothing, and to different bytes in each block of 256 KiB. */
function numbered(length) {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (i & 15) === 0 ? 1 + (i >>> 18) : 97 + (i % 7)
  return bytes
}

/**
 * At least `length` incompressible bytes, which also fill the last page, since zeros there would
 * compress.
 */
function noise(length) {
  const bytes = new Uint8Array(Math.ceil(length / 4096) * 4096 - 1)
  let state = 88_172_645
  for (let i = 0; i < bytes.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[i] = state >>> 11
  }
  return bytes
}

/** `length` bytes of pages that differ from each other, except `zeroPages`, which are zero. */
function paged(length, mark, ...zeroPages) {
  const bytes = new Uint8Array(length).map((_, i) => 1 + (((i >>> 12) + mark) % 255))
  for (const page of zeroPages) bytes.fill(0, page * 4096, (page + 1) * 4096)
  return bytes
}

/** A copy with single bytes changed. */
function changed(bytes, ...offsets) {
  const copy = bytes.slice()
  for (const offset of offsets) copy[offset] ^= 255
  return copy
}

/** A longer copy: threes up to byte 8192 and at the end, zeros between. */
function grown(bytes, length) {
  const copy = new Uint8Array(length).fill(3, bytes.length, 8192).fill(3, length - 1)
  copy.set(bytes)
  return copy
}

/** Three states of one memory, one for each file of the golden chain. */
const before = paged(270_000, 0, 3, 4)
const between = changed(paged(270_000, 0, 2, 4), 4096, 269_999)
const after = changed(paged(270_000, 0, 3), 4097, 65_536)

export const golden = {
  /**
   * Format 1.0, flat: a partial page, blocks of zeros, zero pages within a block, an empty section,
   * UTF-8.
   */
  'flat-1.0': {
    version: { major: 1, minor: 0 },
    layout: 'flat',
    sections: {
      bytes: pattern(5000),
      sparse: sparse(600_001, 0, 12_300, 600_000),
      empty: new Uint8Array(0),
      é: Uint8Array.of(7),
    },
    metadata: { epoch: 7, list: [null, true, 1.5, 'é'] },
  },
  /**
   * Format 1.0, packed: compressible and incompressible data, zero pages and blocks, a partial
   * page, an empty section.
   */
  'packed-1.0': {
    version: { major: 1, minor: 0 },
    layout: 'packed',
    compression: { codec: 'zstd', level: 3 },
    sections: {
      text: new Uint8Array(270_000).map((_, i) => (i >>> 12 === 2 ? 0 : 'packed '.charCodeAt(i % 7))),
      noise: noise(5000),
      sparse: sparse(600_001, 0, 12_300, 600_000),
      empty: new Uint8Array(0),
    },
    metadata: { epoch: 8 },
  },
  /**
   * Format 1.0, packed: sections of several chunks, each stored as a separate piece; a chunk of
   * zeros between two.
   */
  'packed-chunks-1.0': {
    version: { major: 1, minor: 0 },
    layout: 'packed',
    compression: { codec: 'zstd', level: 3 },
    sections: {
      text: numbered(9_000_001),
      apart: sparse(13_000_000, 4_194_303, 8_388_608, 12_999_999),
    },
    metadata: { epoch: 9 },
  },
  /** Format 1.0, flat: the parent of the deltas below. */
  'chain-1.0': {
    version: { major: 1, minor: 0 },
    layout: 'flat',
    sections: {
      kept: numbered(600_000),
      pages: before,
      grown: pattern(5000),
      shrunk: numbered(600_000),
      dropped: pattern(3000),
    },
    metadata: { epoch: 10 },
  },
  /**
   * Format 1.0, a delta without a codec: pages that have changed, that have become zero and that
   * have become data; a section that has grown within its last block and by a block of zeros and
   * one of data, one that has shrunk, one that is gone, a new one before the others, and one
   * without any change.
   */
  'delta-none-1.0': {
    version: { major: 1, minor: 0 },
    layout: 'packed',
    parent: 'chain-1.0',
    sections: {
      added: sparse(300_000, 4096, 270_000),
      shrunk: numbered(300_000),
      pages: between,
      grown: grown(pattern(5000), 600_001),
      kept: numbered(600_000),
    },
    metadata: { epoch: 11 },
  },
  /**
   * Format 1.0, a delta on a delta, with zstd: the same cases, and a section that is in the full
   * file but not in the parent.
   */
  'delta-zstd-1.0': {
    version: { major: 1, minor: 0 },
    layout: 'packed',
    compression: { codec: 'zstd', level: 3 },
    parent: 'delta-none-1.0',
    sections: {
      added: sparse(300_000, 4096, 270_000),
      shrunk: numbered(600_000),
      pages: after,
      grown: numbered(1_000_000),
      kept: numbered(600_000),
      dropped: pattern(3000),
    },
    metadata: undefined,
  },
}
