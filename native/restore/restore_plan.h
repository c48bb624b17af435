// What to restore, and where to.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "memory/region.h"

namespace stillframe {

// Takes one chunk of a section; chunks come one after the other. A failure ends the restore.
using FillChunk = std::function<Status(uint64_t offset, const std::byte* bytes, uint64_t length)>;

// Existing memory that takes one section: a region, or whatever `fill` stands for.
struct Destination {
  std::string section;
  uint64_t byte_length = 0;  // that it has
  RegionUse region;
  FillChunk fill;  // without a region
};

// A place of memory, as whoever used it first found it: what lies there was not there yet.
struct FirstUse {
  std::string section;
  uint64_t offset = 0;
};

enum class RestoreMode : uint8_t {
  kAny,  // a mapping where the file can be mapped
  kMap,
  kCopy,
};

struct RestorePlan {
  RestoreMode mode = RestoreMode::kAny;
  bool prefetch = false;
  bool verify = true;  // all of the file, before any of it is handed out
  std::optional<std::vector<std::string>> sections;  // without: all
  uint64_t max_bytes = 0;                            // 0: no limit
  std::optional<uint64_t> max_mappings;              // without: MappingBudget()
  // Of a lazy restore: what the background begins with, in this order. What the file does not have is passed over.
  std::vector<FirstUse> first_uses;
  std::vector<Destination> into;  // of sections that are restored; the others become regions
};

}  // namespace stillframe
