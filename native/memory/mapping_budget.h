// The number of mappings that the process has, and may still create.
#pragma once

#include <cstdint>

namespace stillframe {

struct MappingCount {
  uint64_t now;
  uint64_t limit;  // vm.max_map_count
};
// Reads /proc/self/maps. If that file cannot be read, half of the usual limit is assumed to be
// taken.
MappingCount CountMappings();

// Half of what vm.max_map_count leaves. The service needs mappings too, V8 in particular, and dies
// when it cannot get one.
uint64_t MappingBudget();

}  // namespace stillframe
