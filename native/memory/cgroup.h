// The memory cgroups of this process, versions 1 and 2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace stillframe {

struct MemoryCgroup {
  // Bytes left below the tightest limit that applies to this process. Page cache that can be
  // dropped counts as free.
  std::optional<uint64_t> headroom;
  std::optional<uint64_t> limit;
  // The kernel kills all processes of the group at once, so a child is not the first victim
  // (version 2).
  bool kills_group = false;
  // The directory of our own group in version 2; empty if there is none.
  std::string directory;
};

MemoryCgroup ReadMemoryCgroup();

}  // namespace stillframe
