// How many mappings the process has, and may still make.
#pragma once

#include <cstdint>

namespace stillframe {

struct MappingCount {
  uint64_t now;
  uint64_t limit;  // vm.max_map_count
};
// Reads /proc/self/maps. Without that file, half of the usual limit is assumed to be taken.
MappingCount CountMappings();

// Half of what vm.max_map_count leaves: the service makes mappings too, V8 most of all, and dies
// without any.
uint64_t MappingBudget();

}  // namespace stillframe
