// What to restore, and where.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "memory/region.h"

namespace stillframe {

// Takes one chunk of a section. Chunks come one after another. A failure ends the restore.
using FillChunk = std::function<Status(uint64_t offset, const std::byte* bytes, uint64_t length)>;

// Existing memory that takes one section: a region, or the memory behind `fill`.
struct Destination {
  std::string section;
  uint64_t byte_length = 0;  // of the memory
  RegionUse region;
  FillChunk fill;  // if there is no region
};

// A place in memory that was not there yet when a thread first used it.
struct FirstUse {
  std::string section;
  uint64_t offset = 0;
};

enum class RestoreMode : uint8_t {
  kAny,  // maps the file if it can be mapped
  kMap,
  kCopy,
};

struct RestorePlan {
  RestoreMode mode = RestoreMode::kAny;
  bool prefetch = false;
  bool verify = true;  // checks all of the file before any of it is handed out
  std::optional<std::vector<std::string>> sections;  // absent: all
  uint64_t max_bytes = 0;                            // 0: no limit
  std::optional<uint64_t> max_mappings;              // absent: MappingBudget()
  // For a lazy restore: where the background begins, in this order. Places that the file does not
  // have are skipped.
  std::vector<FirstUse> first_uses;
  std::vector<Destination> into;  // for restored sections; the others become regions
};

}  // namespace stillframe
