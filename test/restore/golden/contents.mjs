/**
 * What the golden files hold. Fixed for ever: a file that was written years ago is compared with it. A format
 * that can hold something new gets a new entry here, and a file of its own.
 */

/** So many bytes, none of them zero, no two pages alike. */
function pattern(length) {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = ((i * 31 + (i >>> 8) * 7) & 255) | 1
  return bytes
}

/** Zeros, with a one at these offsets. */
function sparse(length, ...offsets) {
  const bytes = new Uint8Array(length)
  for (const offset of offsets) bytes[offset] = 1
  return bytes
}

/** Text that shrinks to almost nothing, and to other bytes in each block of 256 KiB. */
function numbered(length) {
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = (i & 15) === 0 ? 1 + (i >>> 18) : 97 + (i % 7)
  return bytes
}

/** So many bytes that no codec makes fewer of: the last ones of its last page too, or zeros would shrink. */
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

export const golden = {
  /** Format 1.0, flat: a partial page, blocks of zeros, zero pages within a block, an empty section, UTF-8. */
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
  /** Format 1.0, packed: what shrinks and what does not, zero pages and blocks, a partial page, an empty section. */
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
  /** Format 1.0, packed: sections of several chunks, each of them a piece of its own; a chunk of zeros between two. */
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
}
