// How much memory this process and its cgroup take, as far as the kernel tells.
#pragma once

#include <cstdint>
#include <optional>

namespace stillframe {

// Bytes of the process that are in memory (RSS).
std::optional<uint64_t> ResidentBytes();

// Of the tightest limit of the cgroups that this process is in, 0 to 100. Page cache that can be
// dropped does not count.
std::optional<double> CgroupPercent();

// Per cent of the last ten seconds in which something waited for memory (PSI, "some"): in the
// cgroup, or in the system where the cgroup does not tell.
std::optional<double> MemoryPressure();

}  // namespace stillframe
