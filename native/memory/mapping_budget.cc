#include "memory/mapping_budget.h"

#include <algorithm>
#include <cstdlib>

#include "base/small_file.h"

namespace stillframe {

MappingCount CountMappings() {
  constexpr uint64_t kDefaultLimit = 65530;  // the kernel's
  const auto limit = ReadSmallFile("/proc/sys/vm/max_map_count");
  const auto maps = ReadSmallFile("/proc/self/maps");
  MappingCount count{kDefaultLimit / 2, kDefaultLimit};
  if (maps) count.now = static_cast<uint64_t>(std::count(maps->begin(), maps->end(), '\n'));
  if (limit) count.limit = strtoull(limit->c_str(), nullptr, 10);
  return count;
}

uint64_t MappingBudget() {
  const auto [now, limit] = CountMappings();
  return limit > now ? (limit - now) / 2 : 0;
}

}  // namespace stillframe
