#include "memory/available_memory.h"

#include <sys/sysinfo.h>

#include <algorithm>

#include "base/small_file.h"
#include "memory/cgroup.h"

namespace stillframe {

uint64_t AvailableMemory() {
  const auto meminfo = ReadSmallFile("/proc/meminfo");
  const auto available_kib = meminfo ? NumberAfter(*meminfo, "MemAvailable:") : std::nullopt;
  uint64_t available = 0;
  if (available_kib) {
    available = *available_kib * 1024;
  } else {
    // This is a /proc without it (systemd's ProcSubset=pid): the free memory is a smaller figure,
    // and errs on the safe side.
    struct sysinfo system {};
    sysinfo(&system);
    available = (uint64_t{system.freeram} + system.bufferram) * system.mem_unit;
  }
  const MemoryCgroup group = ReadMemoryCgroup();
  if (group.headroom) available = std::min(available, *group.headroom);
  return available;
}

}  // namespace stillframe
