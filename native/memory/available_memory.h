// How much memory this process may still take.
#pragma once

#include <cstdint>

namespace stillframe {

// Memory that can still be taken before somebody is killed: what the system has, or what is left to
// the memory cgroups that this process is in, whichever is less.
uint64_t AvailableMemory();
// As it was some seconds ago at most: to ask the kernel takes a fifth of a millisecond, which a
// capture does after the freeze, for the next one.
uint64_t RecentlyAvailableMemory();
void LookAtAvailableMemory();

}  // namespace stillframe
