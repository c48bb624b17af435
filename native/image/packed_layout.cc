#include "image/packed_layout.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

#include "image/block_check.h"
#include "image/checksum.h"
#include "image/gap_check.h"
#include "image/image_file.h"
#include "image/page_presence.h"
#include "image/page_sums.h"
#include "image/read_failure.h"
#include "image/zero_page.h"

namespace stillframe {

namespace {

// Checks that the stored pages of a block, which are contiguous, are as a writer makes them.
Status CheckDense(const ImageFile& image, uint32_t section_index, const BlockEntry& entry,
                  const std::byte* dense, uint64_t dense_length) {
  const ImageSection& section = image.sections()[section_index];
  for (uint64_t at = 0; at < dense_length; at += kPageSize) {
    if (IsZeroPage(dense + at)) {
      return Damaged(image, section_index, entry.block,
                     " has zero pages that do not match the index");
    }
  }
  // Only the last page of the section can extend beyond its end.
  const uint64_t length = PaddedBlockLength(section.byte_length, entry.block);
  const uint64_t used = std::min(length, section.byte_length - uint64_t{entry.block} * kBlockSize);
  if (used == length || (entry.present >> (length / kPageSize - 1) & 1) == 0) return Success{};
  const uint64_t behind = length - used;
  if (FirstNotZero(dense + dense_length - behind, behind) == behind) return Success{};
  return Damaged(image, section_index, entry.block, " extends beyond the end of its section");
}

uint64_t ChecksumOfStored(const std::byte* stored, const BlockEntry& entry) {
  if (entry.codec != Codec::kNone) return Checksum(stored, entry.stored_length);
  return ChecksumOfPages(stored, FirstPages(static_cast<uint64_t>(std::popcount(entry.present))));
}

// Unpacks the pages `wanted` of a block that is in the file. The other pages are left untouched.
Status UnpackBlock(const ImageFile& image, uint32_t section_index, const BlockEntry& entry,
                   const std::byte* stored, uint64_t wanted, std::byte* out, ReadCheck check,
                   ReadScratch* scratch) {
  const ImageSection& section = image.sections()[section_index];
  if (check != ReadCheck::kNone && ChecksumOfStored(stored, entry) != entry.checksum) {
    return Damaged(image, section_index, entry.block, " does not match its checksum");
  }
  const uint64_t length = PaddedBlockLength(section.byte_length, entry.block);
  const uint64_t dense_length = DenseLength(entry.present);
  const std::byte* dense = stored;
  if (entry.codec == Codec::kZstd) {
    // Decompresses directly into `out` if no page was left out.
    const bool all = wanted == entry.present && dense_length == length;
    std::byte* to = all ? out : scratch->dense();
    if (!scratch->decompressor()->Decompress(stored, entry.stored_length, to, dense_length)) {
      return Damaged(image, section_index, entry.block, " cannot be decompressed");
    }
    dense = to;
  }
  if (check != ReadCheck::kNone) {
    Status sound = CheckDense(image, section_index, entry, dense, dense_length);
    if (!sound.ok()) return sound;
  }
  if (dense == out) return Success{};
  for (uint64_t left = entry.present; left != 0; left &= left - 1, dense += kPageSize) {
    const auto page = static_cast<uint64_t>(std::countr_zero(left));
    if ((wanted >> page & 1) != 0) memcpy(out + page * kPageSize, dense, kPageSize);
  }
  return Success{};
}

void ClearPages(uint64_t pages, std::byte* out) {
  for (; pages != 0; pages &= pages - 1) {
    memset(out + static_cast<uint64_t>(std::countr_zero(pages)) * kPageSize, 0, kPageSize);
  }
}

}  // namespace

// The size of the stored blocks is not known in advance. It is at most what they would
// take in a flat file.
bool PackedLayout::TailFits(uint64_t index_offset, uint64_t data_end) const {
  return index_offset <= data_end;
}

// CheckPlaces() checks the offset, once all entries are known.
bool PackedLayout::EntryHolds(const ImageSection& /*section*/, uint64_t /*block*/,
                              const BlockEntry& entry) const {
  const uint64_t dense = DenseLength(entry.present);
  const bool as_it_is = entry.codec == Codec::kNone && entry.stored_length == dense;
  const bool packed =
      entry.codec == Codec::kZstd && entry.stored_length > 0 && entry.stored_length < dense;
  return as_it_is || packed;
}

// Checks that the pieces follow one another without gaps or overlaps.
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
        "block " + std::to_string(entry.block) + " is where no writer would put it");
  };
  // Goes through entries instead of chunks, because most chunks of a delta have no entries.
  const BlockEntry* last = nullptr;
  for (uint64_t i = 0; i < image.trailer().index_count; i++) {
    const BlockEntry& entry = image.entries()[i];
    if (StateOf(entry) != BlockState::kHere) continue;
    const bool same = last != nullptr && last->section == entry.section &&
                      last->block / kBlocksPerChunk == entry.block / kBlocksPerChunk;
    // Bounds the offset before adding to it.
    if (entry.file_offset > index_offset) return refuse(entry);
    if (!same) pieces.push_back({entry.file_offset, entry.file_offset, &entry});
    if (entry.file_offset != pieces.back().end) return refuse(entry);
    pieces.back().end += entry.stored_length;
    last = &entry;
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.start < b.start; });
  uint64_t at = kPartAlignment;
  for (const Piece& piece : pieces) {
    if (piece.start != at) return refuse(*piece.first);
    at = RoundUp(piece.end, kPageSize);
  }
  if (RoundUp(at, kPartAlignment) == index_offset) return Success{};
  return Corrupt(index_offset, "", "the index is where no writer would put it");
}

Status PackedLayout::ReadBlocks(const ImageFile& image, uint32_t section_index, uint64_t first,
                                uint64_t count, const uint64_t* wanted, std::byte* out,
                                ReadCheck check, ReadScratch* scratch) const {
  const ImageSection& section = image.sections()[section_index];
  const std::span<const BlockEntry> entries = image.EntriesOf(section, first, count);
  const auto stored_pages = [&](const BlockEntry& entry) {
    return wanted == nullptr ? entry.present : entry.present & wanted[entry.block - first];
  };
  // The stored blocks of a chunk are contiguous, so one read is enough for all.
  uint64_t start = 0;
  uint64_t end = 0;
  for (const BlockEntry& entry : entries) {
    if (stored_pages(entry) == 0) continue;
    if (end == 0) start = entry.file_offset;
    end = entry.file_offset + entry.stored_length;
  }
  const uint64_t from = RoundDown(start, kPageSize);
  const uint64_t length = RoundUp(end, kPageSize) - from;
  if (end > 0) {
    Status read = image.source().ReadMuch(scratch->stored(), length, from, section.name);
    if (!read.ok()) return read;
  }
  auto next = entries.begin();
  for (uint64_t block = first; block < first + count; block++) {
    std::byte* to = out + (block - first) * kBlockSize;
    const bool listed = next != entries.end() && next->block == block;
    const BlockEntry entry = listed ? *next++ : BlockEntry{};
    const uint64_t stored = listed ? stored_pages(entry) : 0;
    ClearPages(wanted == nullptr ? PagesOfBlock(section.byte_length, block) & ~entry.present
                                 : entry.zero & wanted[block - first],
               to);
    if (stored == 0) continue;
    Status unpacked =
        UnpackBlock(image, section_index, entry, scratch->stored() + (entry.file_offset - from),
                    stored, to, check, scratch);
    if (!unpacked.ok()) return unpacked;
  }
  return Success{};
}

Status PackedLayout::CheckGapsOfChunk(const ImageFile& image, uint32_t section_index,
                                      uint64_t first, uint64_t count, ReadScratch* scratch) const {
  const ImageSection& section = image.sections()[section_index];
  uint64_t end = 0;
  for (const BlockEntry& entry : image.EntriesOf(section, first, count)) {
    if (StateOf(entry) == BlockState::kHere) end = entry.file_offset + entry.stored_length;
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
