// The memory cgroups that this process lives in, versions 1 and 2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace stillframe {

struct MemoryCgroup {
  // Bytes left until the tightest limit above us; page cache that can be dropped counts as free.
  std::optional<uint64_t> headroom;
  std::optional<uint64_t> limit;
  // The kernel kills every process of the group at once: a child is then not the first victim
  // (version 2).
  bool kills_group = false;
  // Of version 2: our own; empty if there is none.
  std::string directory;
};

MemoryCgroup ReadMemoryCgroup();

}  // namespace stillframe
