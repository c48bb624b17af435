// A section of a file that is open, and how what is read of it is checked.
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
  uint64_t stored_bytes = 0;  // that the file has of it
};

// kChecksums: also that the zero pages are those of the index, and that nothing lies behind the section's end.
enum class ReadCheck : uint8_t { kNone, kChecksums };

}  // namespace stillframe
