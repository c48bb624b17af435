// What the kernel says of the process's own mappings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/result.h"

namespace stillframe {

enum class Sharing : uint8_t { kPrivate, kShared, kUnmapped };

// A reading of /proc/self/maps, which visits no page tables.
class MappingList {
 public:
  static Result<MappingList> Read();
  // kShared when any byte of the range lies in a MAP_SHARED mapping (fork does not freeze those),
  // kUnmapped when the range has a gap or cannot be read.
  Sharing SharingOf(const void* start, size_t length) const;

 private:
  struct Entry {
    uintptr_t start;
    uintptr_t end;
    bool readable;
    bool shared;
  };
  std::vector<Entry> entries_;  // in ascending order, as the kernel lists them
};

// Whether the mapping at this address is MADV_DONTFORK. Only /proc/self/smaps says so, and reading it
// walks the page tables of the whole process: tens of milliseconds for a big one.
Result<bool> IsDontFork(const void* address);

// How many bytes of [start, start + length) are resident: what a capture will at most have to write.
Result<uint64_t> ResidentBytes(const void* start, size_t length);

}  // namespace stillframe
