// The memory that this process can still take.
#pragma once

#include <cstdint>

namespace stillframe {

// Bytes that can still be taken before the kernel kills a process: what the system has available,
// or what is left to the memory cgroups of this process, whichever is less.
uint64_t AvailableMemory();
// The same, at most two seconds old. Asking the kernel takes a fifth of a millisecond, so a capture
// does that after the freeze, for the next capture.
uint64_t RecentlyAvailableMemory();
void LookAtAvailableMemory();

}  // namespace stillframe
