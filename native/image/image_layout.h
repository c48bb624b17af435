// Where everything of a file goes, as far as it is known before a block is written. Whoever writes a file lays it out
// with it, and whoever reads one checks that it lies so.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "image/format.h"

namespace stillframe {

// The file that a delta builds on, as it is written down.
struct ParentMark {
  std::array<uint8_t, 16> id{};
  PageSum state{};  // its checksum of the memory
};

struct ImageDescription {
  std::array<uint8_t, 16> id{};
  std::optional<ParentMark> parent;
  std::optional<PageSum> expected_state;  // what is saved has to add up to it
  int64_t frozen_at_ns = 0;
  std::string metadata;  // JSON, empty: none
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
  uint64_t first_chunk;  // of all chunks of the capture; chunks do not cross sections
};

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

}  // namespace stillframe
