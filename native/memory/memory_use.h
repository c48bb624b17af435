// Memory use of this process and its cgroup, as far as the kernel reports it.
#pragma once

#include <cstdint>
#include <optional>

namespace stillframe {

// Resident bytes of the process (RSS).
std::optional<uint64_t> ResidentBytes();

// Percentage, 0 to 100, of the tightest limit of the cgroups of this process that is in use. Page
// cache that can be dropped does not count as used.
std::optional<double> CgroupPercent();

// Percentage of the last ten seconds in which some task waited for memory (PSI, "some"): in the
// cgroup, or in the whole system if the cgroup does not report it.
std::optional<double> MemoryPressure();

}  // namespace stillframe
