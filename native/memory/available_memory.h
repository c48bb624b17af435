// How much memory this process may still take.
#pragma once

#include <cstdint>

namespace stillframe {

// Memory that can still be taken before somebody is killed: what the system has, or what is left to
// the memory cgroups that this process is in, whichever is less.
uint64_t AvailableMemory();

}  // namespace stillframe
