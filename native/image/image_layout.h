// The place of each part of a file, as far as it is known before any block is written. Writers lay
// out files with it, and readers check that files are laid out like this.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "image/format.h"

namespace stillframe {

// The file that a delta builds on, as it is recorded in the delta.
struct ParentMark {
  std::array<uint8_t, 16> id{};
  PageSum state{};  // its checksum of all memory
};

struct ImageDescription {
  std::array<uint8_t, 16> id{};
  std::optional<ParentMark> parent;
  std::optional<PageSum> expected_state;  // state that the saved memory must have
  int64_t frozen_at_ns = 0;
  std::string metadata;  // JSON; empty if there is none
  struct Section {
    std::string name;
    uint64_t byte_length = 0;
  };
  std::vector<Section> sections;
};

struct SaveSection {
  uint64_t byte_length;
  uint64_t data_offset;  // in the file; packed: 0
  uint64_t first_entry;  // in the index
  uint64_t first_chunk;  // counted over the whole capture; chunks do not cross sections
};

struct ImageLayout {
  Layout layout = Layout::kFlat;
  std::vector<SaveSection> sections;
  uint64_t block_count = 0;
  uint64_t chunk_count = 0;
  uint64_t byte_length = 0;  // logical bytes of all sections
  uint64_t data_end = 0;     // all blocks end before it. Flat: start of the tail; packed: a bound
};
ImageLayout PlanLayout(const std::vector<ImageDescription::Section>& sections,
                       Layout kind = Layout::kFlat);

}  // namespace stillframe
