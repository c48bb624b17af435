#include "image/flat_layout.h"

#include <cstring>

#include "image/block_check.h"
#include "image/gap_check.h"
#include "image/image_file.h"
#include "image/page_sums.h"

namespace stillframe {

bool FlatLayout::TailFits(uint64_t index_offset, uint64_t data_end) const {
  return index_offset == data_end;
}

bool FlatLayout::EntryHolds(const ImageSection& section, uint64_t block,
                            const BlockEntry& entry) const {
  const uint64_t length = PaddedBlockLength(section.byte_length, block);
  return entry.codec == Codec::kNone && entry.stored_length == length &&
         entry.file_offset == section.data_offset + block * kBlockSize;
}

// EntryHolds() has already checked the place of each block.
Status FlatLayout::CheckPlaces(const ImageFile& /*image*/) const { return Success{}; }

Status FlatLayout::ReadBlocks(const ImageFile& image, uint32_t section_index, uint64_t first,
                              uint64_t count, const uint64_t* wanted, std::byte* out,
                              ReadCheck check, ReadScratch* /*scratch*/) const {
  const ImageSection& section = image.sections()[section_index];
  const std::span<const BlockEntry> entries = image.EntriesOf(section, 0, section.block_count);
  const auto length_of = [&](uint64_t block) {
    return PaddedBlockLength(section.byte_length, block);
  };
  const auto is_wanted = [&](uint64_t block) {
    return wanted == nullptr || wanted[block - first] != 0;
  };
  for (uint64_t block = first; block < first + count;) {
    if (!is_wanted(block)) {
      block++;
      continue;
    }
    std::byte* at = out + (block - first) * kBlockSize;
    if (StateOf(entries[block]) == BlockState::kZero) {
      memset(at, 0, length_of(block));
      block++;
      continue;
    }
    // A run of stored blocks is contiguous in the file and takes one read.
    uint64_t run_end = block;
    uint64_t run_length = 0;
    for (; run_end < first + count && is_wanted(run_end) &&
           StateOf(entries[run_end]) == BlockState::kHere;
         run_end++)
      run_length += length_of(run_end);
    Status read = image.source().ReadMuch(at, run_length, entries[block].file_offset, section.name);
    if (!read.ok()) return read;
    for (; block < run_end; block++) {
      if (check == ReadCheck::kNone) continue;
      const std::byte* bytes = out + (block - first) * kBlockSize;
      if (ChecksumOfPages(bytes, entries[block].present) != entries[block].checksum) {
        return Damaged(image, section_index, block, " does not match its checksum");
      }
      if (Status pages = CheckPages(image, section_index, block, bytes); !pages.ok()) return pages;
    }
  }
  return Success{};
}

Status FlatLayout::CheckGapsOfChunk(const ImageFile& image, uint32_t section_index, uint64_t first,
                                    uint64_t count, ReadScratch* scratch) const {
  const ImageSection& section = image.sections()[section_index];
  const std::span<const BlockEntry> entries = image.EntriesOf(section, 0, section.block_count);
  for (uint64_t block = first; block < first + count; block++) {
    if (StateOf(entries[block]) == BlockState::kHere) continue;
    Status zeros = CheckZeros(image.source(), section.data_offset + block * kBlockSize,
                              PaddedBlockLength(section.byte_length, block), section.name, scratch);
    if (!zeros.ok()) return zeros;
  }
  if (first + count < section.block_count) return Success{};
  // The gap between the last page of the section and the next part of the file.
  const uint64_t end = section.data_offset + RoundUp(section.byte_length, kPageSize);
  const uint64_t next = RoundUp(section.data_offset + section.byte_length, kPartAlignment);
  return CheckZeros(image.source(), end, next - end, "", scratch);
}

Status FlatLayout::CheckOuterGaps(const ImageFile& /*image*/, ReadScratch* /*scratch*/) const {
  return Success{};
}

}  // namespace stillframe
