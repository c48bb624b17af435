// How many mappings the process may still make.
#pragma once

#include <cstdint>

namespace stillframe {

// Half of what vm.max_map_count leaves: the service makes mappings too, V8 most of all, and dies without. Reads
// /proc/self/maps.
uint64_t MappingBudget();

}  // namespace stillframe
