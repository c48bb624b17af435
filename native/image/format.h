// The image file, as bytes. docs/FORMAT.md is the specification; this header is its transcription.
//
//   0          64 KiB                                               tail (64 KiB-aligned)
//   | header | 0 | section 0 ... | 0 | section 1 ... | 0 | index | sums | sections | names | metadata | 0 | trailer |
//                  ^ 64 KiB-aligned, so that a section can be mapped on any page size
//
// All integers are little-endian. Everything that no checksum covers is zero, and is checked to be.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/arithmetic.h"

namespace stillframe {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the structs below are the file's bytes");

inline constexpr uint64_t kPageSize = 4096;     // of the format, whatever the machine's
inline constexpr uint64_t kPagesPerBlock = 64;  // one bit each in BlockEntry::present
inline constexpr uint64_t kBlockSize = kPageSize * kPagesPerBlock;  // 256 KiB
// Of a section, counted from its beginning: in a packed file the stored blocks of a chunk are one piece. 4 MiB: large
// enough that the disk, not the number of calls, is the limit of those who write and read a chunk at a time.
inline constexpr uint64_t kBlocksPerChunk = 16;
inline constexpr uint64_t kChunkSize = kBlocksPerChunk * kBlockSize;
// Sections and the tail start at multiples of the largest page size of any supported machine.
inline constexpr uint64_t kPartAlignment = 65536;

inline constexpr uint8_t kHeaderMagic[8] = {0x89, 'S', 'F', 'R', 'A', 'M', '\r', '\n'};
inline constexpr uint8_t kTrailerMagic[8] = {'S', 'F', 'R', 'A', 'M', 'E', 'N', 'D'};
inline constexpr uint16_t kVersionMajor = 1;  // a reader refuses a greater one
inline constexpr uint16_t kVersionMinor = 0;  // additions that an old reader may ignore

inline constexpr uint32_t kMaxSections = 65535;
inline constexpr uint32_t kMaxNameLength = 255;                     // bytes of UTF-8
inline constexpr uint64_t kMaxMetadataLength = uint64_t{64} << 20;  // bytes of JSON
// Of the JSON. So many are parsed in a tenth of a second or two (250,000 keys: 150 ms, Node 20), and are no deeper than
// any program that walks them recursively has stack for.
inline constexpr uint64_t kMaxMetadataValues = 250'000;
inline constexpr uint64_t kMaxMetadataDepth = 1000;
inline constexpr uint64_t kMaxSectionLength = uint64_t{1} << 47;  // an address space

enum class Layout : uint32_t { kFlat = 0, kPacked = 1 };
enum class Codec : uint16_t { kNone = 0, kZstd = 1 };  // kZstd: in packed files only

// XXH3-128 of a page; of one that is all zero, zero. Equal sums let a page be left out of a delta.
struct PageSum {
  uint64_t low;
  uint64_t high;
  bool operator==(const PageSum&) const = default;
};
static_assert(sizeof(PageSum) == 16);

// At offset 0, the rest of its page zero.
struct FileHeader {
  uint8_t magic[8];
  uint16_t version_major;
  uint16_t version_minor;
  uint32_t header_length;  // kPageSize
  uint8_t id[16];
  uint8_t parent_id[16];  // of the file that a delta builds on; zero: none, a full file
  Layout layout;
  uint32_t page_size;   // kPageSize
  uint32_t block_size;  // kBlockSize
  uint32_t reserved;
  int64_t frozen_at_ns;  // since the epoch
  PageSum parent_state;  // the parent's `state`; 0: none
  uint64_t checksum;     // XXH3-64 of the page with this field zero
};
constexpr bool IsDelta(const FileHeader& header) {
  for (const uint8_t byte : header.parent_id) {
    if (byte != 0) return true;
  }
  return false;
}
static_assert(sizeof(FileHeader) == 96 && offsetof(FileHeader, checksum) == 88);

// In the order of sections and positions: one per block in a full file; in a delta, of blocks with a page that is not as
// in the parent. A page is in the file (present), zero, or, in a delta, as in the parent (neither).
struct BlockEntry {
  uint64_t file_offset;  // 0 when present is 0
  uint64_t present;   // bit i: page i of the block is in the file; it has a byte that is not zero
  uint64_t zero;      // bit i: page i of the block is all zero
  uint64_t checksum;  // XXH3-64 of the block as it is stored; 0 when present is 0
  uint32_t section;   // index into the section table
  uint32_t block;     // position in the section, in blocks
  uint32_t
      stored_length;  // bytes in the file, 0 when present is 0; flat: all pages; packed: present ones, encoded
  Codec codec;
  uint16_t reserved;
};
static_assert(sizeof(BlockEntry) == 48 && offsetof(BlockEntry, codec) == 44);

// Where those pages of a block are that an entry speaks of. Whoever asks switches over it without a default, so that a compiler finds what a new
// state has to be told.
enum class BlockState : uint8_t {
  kZero,  // nowhere: all of them are zero
  kHere,  // in this file
};
constexpr BlockState StateOf(const BlockEntry& entry) {
  return entry.present == 0 ? BlockState::kZero : BlockState::kHere;
}

struct SectionRecord {
  uint64_t byte_length;
  uint64_t data_offset;  // flat: where byte 0 lies; packed: 0
  uint64_t first_entry;  // of its blocks in the index
  uint64_t entry_count;  // full file: of all its blocks
  uint32_t name_offset;  // into the names
  uint32_t name_length;  // bytes of UTF-8
  uint64_t reserved[3];
};
static_assert(sizeof(SectionRecord) == 64);

// The first bytes of the last page of the file, the rest of the page zero.
struct FileTrailer {
  uint8_t magic[8];
  uint8_t id[16];        // the header's again
  uint64_t file_length;  // of the whole file
  uint64_t index_offset;
  uint64_t index_count;  // entries
  uint64_t index_checksum;
  uint64_t sum_count;        // one for each page in the file, in the order of the index
  uint64_t sums_checksum;    // of the sums, which follow the index directly
  PageSum state;             // of all memory that the frame restores to: StateSum
  uint64_t sections_offset;  // the records, and directly behind them the names
  uint64_t section_count;
  uint64_t names_length;
  uint64_t sections_checksum;  // of records and names
  uint64_t metadata_offset;
  uint64_t metadata_length;  // 0: none
  uint64_t metadata_checksum;
  uint64_t checksum;  // XXH3-64 of the page with this field zero
};
static_assert(sizeof(FileTrailer) == 152 && offsetof(FileTrailer, checksum) == 144);

constexpr uint64_t BlockCount(uint64_t section_length) {
  return DivideRoundingUp(section_length, kBlockSize);
}
// Bytes of whole pages that block `block` of a section of this length covers.
constexpr uint64_t PaddedBlockLength(uint64_t section_length, uint64_t block) {
  const uint64_t rest = section_length - block * kBlockSize;
  return rest >= kBlockSize ? kBlockSize : RoundUp(rest, kPageSize);
}

// The bits of the pages that a block has.
constexpr uint64_t PagesOfBlock(uint64_t section_length, uint64_t block) {
  const uint64_t pages = PaddedBlockLength(section_length, block) / kPageSize;
  return pages == kPagesPerBlock ? ~uint64_t{0} : (uint64_t{1} << pages) - 1;
}

}  // namespace stillframe
