#include "image/block_check.h"

#include <algorithm>
#include <string>

#include "image/gap_check.h"
#include "image/page_presence.h"
#include "image/read_failure.h"

namespace stillframe {

Failure Damaged(const ImageFile& image, uint32_t section, uint64_t block, const char* how) {
  return Corrupt(image.EntryOf(image.sections()[section], block).file_offset,
                 image.sections()[section].name, "block " + std::to_string(block) + how);
}

Status CheckPages(const ImageFile& image, uint32_t section_index, uint64_t block,
                  const std::byte* bytes) {
  const ImageSection& section = image.sections()[section_index];
  const uint64_t length = PaddedBlockLength(section.byte_length, block);
  if (PresentPages(bytes, length) != image.EntryOf(section, block).present) {
    return Damaged(image, section_index, block, " has zero pages that do not match the index");
  }
  const uint64_t used = std::min(length, section.byte_length - block * kBlockSize);
  if (FirstNotZero(bytes + used, length - used) == length - used) return Success{};
  return Damaged(image, section_index, block, " extends beyond the end of its section");
}

}  // namespace stillframe
