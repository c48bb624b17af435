// A section of an open file, and the checks that a read of it makes.
#pragma once

#include <cstdint>
#include <string>

namespace stillframe {

struct ImageSection {
  std::string name;
  uint64_t byte_length = 0;
  uint64_t data_offset = 0;
  uint64_t block_count = 0;
  uint64_t first_entry = 0;   // in the index
  uint64_t entry_count = 0;   // full file: one for each block
  uint64_t stored_bytes = 0;  // length of its stored blocks in the file
};

// kChecksums also checks that the zero pages are those of the index, and that only zeros
// follow the end of the section.
enum class ReadCheck : uint8_t { kNone, kChecksums };

}  // namespace stillframe
