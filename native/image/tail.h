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

// Where everything of a file goes, as far as it is known before a block is written.
struct ImageLayout {
  Layout layout = Layout::kFlat;
  std::vector<SaveSection> sections;
  uint64_t block_count = 0;
  uint64_t chunk_count = 0;
  uint64_t byte_length = 0;  // logical bytes of all sections
  uint64_t data_end = 0;  // all blocks lie before it. Flat: where the tail begins; packed: a bound
};
ImageLayout PlanLayout(const std::vector<ImageDescription::Section>& sections,
                       Layout kind = Layout::kFlat);

// Writes header and tail, aligned as O_DIRECT wants it; the tail at `tail_offset`, a multiple of the part alignment.
// Returns the length of the file.
Result<uint64_t> WriteHeaderAndTail(int fd, const ImageDescription& image,
                                    const ImageLayout& layout, const BlockEntry* index,
                                    uint64_t tail_offset);

}  // namespace stillframe
