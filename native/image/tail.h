// Header and tail of an image file: everything in it that is not pages.
//
// Laid out before the freeze (where each section lies), written after all blocks are.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "image/control_block.h"
#include "image/saver.h"

namespace stillframe {

struct ImageDescription {
  std::array<uint8_t, 16> id{};
  int64_t frozen_at_ns = 0;
  std::string metadata;  // JSON, empty: none
  struct Section {
    std::string name;
    uint64_t byte_length = 0;
  };
  std::vector<Section> sections;
};

// Where everything of a flat file goes.
struct FlatLayout {
  std::vector<SaveSection> sections;
  uint64_t block_count = 0;
  uint64_t chunk_count = 0;
  uint64_t byte_length = 0;  // logical bytes of all sections
  uint64_t tail_offset = 0;
};
FlatLayout PlanFlatLayout(const std::vector<ImageDescription::Section>& sections);

// Writes header and tail, aligned as O_DIRECT wants it. Returns the length of the file.
Result<uint64_t> WriteHeaderAndTail(int fd, const ImageDescription& image, const FlatLayout& layout,
                                    const BlockEntry* index);

}  // namespace stillframe
