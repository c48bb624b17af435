// The bytes of an image file. docs/FORMAT.md is the specification, which this header transcribes.
//
//   0          64 KiB                                               tail (64 KiB-aligned)
//   | header | 0 | section 0 ... | 0 | section 1 ... | 0 | index | sums | sections | names | metadata | 0 | trailer |
//                  ^ 64 KiB-aligned, so that a section can be mapped on any page size
//
// All integers are little-endian. Bytes that no checksum covers are zero, and readers check that.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/arithmetic.h"

namespace stillframe {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the structs below are the file's bytes");

inline constexpr uint64_t kPageSize = 4096;     // of the format, independent of the machine's
inline constexpr uint64_t kPagesPerBlock = 64;  // one bit for each in BlockEntry::present
inline constexpr uint64_t kBlockSize = kPageSize * kPagesPerBlock;  // 256 KiB
// Chunks are counted from the beginning of a section. In a packed file the stored blocks of a
// chunk form one piece. With 4 MiB, the disk and not the number of calls limits threads that write
// and read a chunk at a time.
inline constexpr uint64_t kBlocksPerChunk = 16;
inline constexpr uint64_t kChunkSize = kBlocksPerChunk * kBlockSize;
// Sections and the tail start at multiples of the largest page size of any supported machine.
inline constexpr uint64_t kPartAlignment = 65536;

inline constexpr uint8_t kHeaderMagic[8] = {0x89, 'S', 'F', 'R', 'A', 'M', '\r', '\n'};
inline constexpr uint8_t kTrailerMagic[8] = {'S', 'F', 'R', 'A', 'M', 'E', 'N', 'D'};
inline constexpr uint16_t kVersionMajor = 1;  // a reader refuses greater ones
inline constexpr uint16_t kVersionMinor = 0;  // additions that an old reader may ignore

inline constexpr uint32_t kMaxSections = 65535;
inline constexpr uint32_t kMaxNameLength = 255;                     // bytes of UTF-8
inline constexpr uint64_t kMaxMetadataLength = uint64_t{64} << 20;  // bytes of JSON
// Limits on the JSON. This many values are parsed in 0.1 to 0.2 s (250,000 keys: 150 ms, Node 20),
// and any program that walks them recursively has enough stack for this depth.
inline constexpr uint64_t kMaxMetadataValues = 250'000;
inline constexpr uint64_t kMaxMetadataDepth = 1000;
inline constexpr uint64_t kMaxSectionLength = uint64_t{1} << 47;  // size of an address space

enum class Layout : uint32_t { kFlat = 0, kPacked = 1 };
enum class Codec : uint16_t { kNone = 0, kZstd = 1 };  // kZstd only in packed files

// XXH3-128 of a page, or zero for a page that is all zero. A page whose sum equals that of the
// parent is left out of a delta.
struct PageSum {
  uint64_t low;
  uint64_t high;
  bool operator==(const PageSum&) const = default;
};
static_assert(sizeof(PageSum) == 16);

// At offset 0. The rest of its page is zero.
struct FileHeader {
  uint8_t magic[8];
  uint16_t version_major;
  uint16_t version_minor;
  uint32_t header_length;  // kPageSize
  uint8_t id[16];
  uint8_t parent_id[16];  // of the file that a delta builds on; zero in a full file
  Layout layout;
  uint32_t page_size;   // kPageSize
  uint32_t block_size;  // kBlockSize
  uint32_t reserved;
  int64_t frozen_at_ns;  // since the epoch
  PageSum parent_state;  // `state` in the trailer of the parent; 0 without a parent
  uint64_t checksum;     // XXH3-64 of the page with this field zero
};
constexpr bool IsDelta(const FileHeader& header) {
  for (const uint8_t byte : header.parent_id) {
    if (byte != 0) return true;
  }
  return false;
}
static_assert(sizeof(FileHeader) == 96 && offsetof(FileHeader, checksum) == 88);

// Entries are in the order of sections and positions. A full file has one for each block; a delta
// has one for each block with a page that differs from the parent. A page is either in the file
// (present), or all zero (zero), or, in a delta, unchanged from the parent (neither).
struct BlockEntry {
  uint64_t file_offset;  // 0 when present is 0
  uint64_t present;      // bit i: page i of the block is in the file, because it is not all zero
  uint64_t zero;         // bit i: page i of the block is all zero
  uint64_t checksum;     // XXH3-64 of the stored block; 0 when present is 0
  uint32_t section;      // index into the section table
  uint32_t block;        // position in the section, in blocks
  // Bytes in the file; 0 when present is 0. Flat: all pages; packed: the present pages, encoded.
  uint32_t stored_length;
  Codec codec;
  uint16_t reserved;
};
static_assert(sizeof(BlockEntry) == 48 && offsetof(BlockEntry, codec) == 44);

// Place of the pages that an entry lists. Callers switch over it without a default, so that the
// compiler finds every place that a new state affects.
enum class BlockState : uint8_t {
  kZero,  // nowhere: all of these pages are zero
  kHere,  // in this file
};
constexpr BlockState StateOf(const BlockEntry& entry) {
  return entry.present == 0 ? BlockState::kZero : BlockState::kHere;
}

struct SectionRecord {
  uint64_t byte_length;
  uint64_t data_offset;  // flat: file offset of byte 0; packed: 0
  uint64_t first_entry;  // index of the first entry of its blocks
  uint64_t entry_count;  // full file: the number of its blocks
  uint32_t name_offset;  // offset within the names
  uint32_t name_length;  // bytes of UTF-8
  uint64_t reserved[3];
};
static_assert(sizeof(SectionRecord) == 64);

// At the start of the last page of the file. The rest of the page is zero.
struct FileTrailer {
  uint8_t magic[8];
  uint8_t id[16];        // same as in the header
  uint64_t file_length;  // of the whole file
  uint64_t index_offset;
  uint64_t index_count;  // number of entries
  uint64_t index_checksum;
  uint64_t sum_count;        // one for each page in the file, in the order of the index
  uint64_t sums_checksum;    // of the sums, which follow the index directly
  PageSum state;             // StateSum of all memory that the frame restores
  uint64_t sections_offset;  // of the records, which the names follow directly
  uint64_t section_count;
  uint64_t names_length;
  uint64_t sections_checksum;  // of the records and the names
  uint64_t metadata_offset;
  uint64_t metadata_length;  // 0: none
  uint64_t metadata_checksum;
  uint64_t checksum;  // XXH3-64 of the page with this field zero
};
static_assert(sizeof(FileTrailer) == 152 && offsetof(FileTrailer, checksum) == 144);

constexpr uint64_t BlockCount(uint64_t section_length) {
  return DivideRoundingUp(section_length, kBlockSize);
}
// Length of block `block` of a section of this length, rounded up to whole pages.
constexpr uint64_t PaddedBlockLength(uint64_t section_length, uint64_t block) {
  const uint64_t rest = section_length - block * kBlockSize;
  return rest >= kBlockSize ? kBlockSize : RoundUp(rest, kPageSize);
}

// Bits of the first `count` pages of a block, at most 64.
constexpr uint64_t FirstPages(uint64_t count) {
  return count == kPagesPerBlock ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

// Mask of the pages that a block has.
constexpr uint64_t PagesOfBlock(uint64_t section_length, uint64_t block) {
  return FirstPages(PaddedBlockLength(section_length, block) / kPageSize);
}

}  // namespace stillframe
