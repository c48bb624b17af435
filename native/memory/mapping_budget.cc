#include "memory/mapping_budget.h"

#include <algorithm>
#include <cstdlib>

#include "base/small_file.h"

namespace stillframe {
namespace {

constexpr uint64_t kDefaultMaxMappings = 65530;  // of the kernel

uint64_t MaxMappings() {
  const auto text = ReadSmallFile("/proc/sys/vm/max_map_count");
  return text ? strtoull(text->c_str(), nullptr, 10) : kDefaultMaxMappings;
}

uint64_t CountMappings() {
  const auto maps = ReadSmallFile("/proc/self/maps");
  if (!maps) return kDefaultMaxMappings / 2;
  return static_cast<uint64_t>(std::count(maps->begin(), maps->end(), '\n'));
}

}  // namespace

uint64_t MappingBudget() {
  const uint64_t limit = MaxMappings();
  const uint64_t now = CountMappings();
  return limit > now ? (limit - now) / 2 : 0;
}

}  // namespace stillframe
