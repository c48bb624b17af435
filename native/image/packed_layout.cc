#include "image/packed_layout.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "image/block_check.h"
#include "image/checksum.h"
#include "image/gap_check.h"
#include "image/image_file.h"
#include "image/page_presence.h"
#include "image/read_failure.h"

namespace stillframe {

namespace {

Status UnpackBlock(const ImageFile& image, uint32_t section_index, uint64_t block,
                   const std::byte* stored, std::byte* out, ReadCheck check, ReadScratch* scratch) {
  const ImageSection& section = image.sections()[section_index];
  const BlockEntry& entry = image.EntriesOf(section)[block];
  if (check != ReadCheck::kNone && Checksum(stored, entry.stored_length) != entry.checksum) {
    return Damaged(image, section_index, block, " does not match its checksum");
  }
  const uint64_t length = PaddedBlockLength(section.byte_length, block);
  const uint64_t dense_length = DenseLength(entry.present);
  const std::byte* dense = stored;
  if (entry.codec == Codec::kZstd) {
    // Straight to where it belongs when no page was left out.
    std::byte* to = dense_length == length ? out : scratch->dense();
    if (!scratch->decompressor()->Decompress(stored, entry.stored_length, to, dense_length)) {
      return Damaged(image, section_index, block, " cannot be decompressed");
    }
    dense = to;
  }
  if (dense != out) {
    for (uint64_t page = 0; page < length / kPageSize; page++) {
      if ((entry.present >> page & 1) != 0) {
        memcpy(out + page * kPageSize, dense, kPageSize);
        dense += kPageSize;
      } else {
        memset(out + page * kPageSize, 0, kPageSize);
      }
    }
  }
  return check == ReadCheck::kNone ? Status(Success{})
                                   : CheckPages(image, section_index, block, out);
}

}  // namespace

// What the blocks take is known once they are there; at most what they would in a flat file.
bool PackedLayout::TailFits(uint64_t index_offset, uint64_t data_end) const {
  return index_offset <= data_end;
}

// Where it lies is looked at once all entries are known.
bool PackedLayout::EntryHolds(const ImageSection& /*section*/, uint64_t /*block*/,
                              const BlockEntry& entry) const {
  const uint64_t dense = DenseLength(entry.present);
  const bool as_it_is = entry.codec == Codec::kNone && entry.stored_length == dense;
  const bool packed =
      entry.codec == Codec::kZstd && entry.stored_length > 0 && entry.stored_length < dense;
  return as_it_is || packed;
}

// The pieces follow each other without a gap or an overlap.
Status PackedLayout::CheckPlaces(const ImageFile& image) const {
  const uint64_t index_offset = image.trailer().index_offset;
  struct Piece {
    uint64_t start;
    uint64_t end;
    const BlockEntry* first;
  };
  std::vector<Piece> pieces;
  const auto refuse = [&](const BlockEntry& entry) {
    return Corrupt(
        index_offset + static_cast<uint64_t>(&entry - image.entries()) * sizeof(BlockEntry),
        image.sections()[entry.section].name,
        "block " + std::to_string(entry.block) + " lies where no writer would put it");
  };
  for (const ImageSection& section : image.sections()) {
    for (uint64_t chunk = 0; chunk < section.block_count; chunk += kBlocksPerChunk) {
      const uint64_t end = std::min(chunk + kBlocksPerChunk, section.block_count);
      const BlockEntry* first = nullptr;
      uint64_t at = 0;
      for (uint64_t block = chunk; block < end; block++) {
        const BlockEntry& entry = image.EntriesOf(section)[block];
        if (StateOf(entry) != BlockState::kHere) continue;
        if (first == nullptr) {
          first = &entry;
          at = entry.file_offset;
        }
        // Bounded before it is added to.
        if (entry.file_offset != at || at > index_offset) return refuse(entry);
        at += entry.stored_length;
      }
      if (first != nullptr) pieces.push_back({first->file_offset, at, first});
    }
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.start < b.start; });
  uint64_t at = kPartAlignment;
  for (const Piece& piece : pieces) {
    if (piece.start != at) return refuse(*piece.first);
    at = RoundUp(piece.end, kPageSize);
  }
  if (RoundUp(at, kPartAlignment) == index_offset) return Success{};
  return Corrupt(index_offset, "", "the index lies where no writer would put it");
}

Status PackedLayout::ReadBlocks(const ImageFile& image, uint32_t section_index, uint64_t first,
                                uint64_t count, std::byte* out, ReadCheck check,
                                ReadScratch* scratch) const {
  const ImageSection& section = image.sections()[section_index];
  const BlockEntry* entries = image.EntriesOf(section);
  // The stored blocks of a chunk lie one behind the other: one read for all.
  uint64_t start = 0;
  uint64_t end = 0;
  for (uint64_t block = first; block < first + count; block++) {
    if (StateOf(entries[block]) != BlockState::kHere) continue;
    if (end == 0) start = entries[block].file_offset;
    end = entries[block].file_offset + entries[block].stored_length;
  }
  const uint64_t from = RoundDown(start, kPageSize);
  const uint64_t length = RoundUp(end, kPageSize) - from;
  if (end > 0) {
    Status read = image.source().ReadMuch(scratch->stored(), length, from, section.name);
    if (!read.ok()) return read;
  }
  for (uint64_t block = first; block < first + count; block++) {
    std::byte* to = out + (block - first) * kBlockSize;
    if (StateOf(entries[block]) == BlockState::kZero) {
      memset(to, 0, PaddedBlockLength(section.byte_length, block));
      continue;
    }
    Status unpacked =
        UnpackBlock(image, section_index, block,
                    scratch->stored() + (entries[block].file_offset - from), to, check, scratch);
    if (!unpacked.ok()) return unpacked;
  }
  return Success{};
}

Status PackedLayout::CheckGapsOfChunk(const ImageFile& image, uint32_t section_index,
                                      uint64_t first, uint64_t count, ReadScratch* scratch) const {
  const ImageSection& section = image.sections()[section_index];
  const BlockEntry* entries = image.EntriesOf(section);
  uint64_t end = 0;
  for (uint64_t block = first; block < first + count; block++) {
    if (StateOf(entries[block]) != BlockState::kHere) continue;
    end = entries[block].file_offset + entries[block].stored_length;
  }
  return CheckZeros(image.source(), end, RoundUp(end, kPageSize) - end, "", scratch);
}

Status PackedLayout::CheckOuterGaps(const ImageFile& image, ReadScratch* scratch) const {
  uint64_t end = kPartAlignment;
  for (uint64_t i = 0; i < image.trailer().index_count; i++) {
    const BlockEntry& entry = image.entries()[i];
    if (StateOf(entry) != BlockState::kHere) continue;
    end = std::max(end, entry.file_offset + entry.stored_length);
  }
  end = RoundUp(end, kPageSize);
  return CheckZeros(image.source(), end, image.trailer().index_offset - end, "", scratch);
}

}  // namespace stillframe
