#include "memory/available_memory.h"

#include <sys/sysinfo.h>

#include <algorithm>
#include <atomic>

#include "base/small_file.h"
#include "base/sys.h"
#include "memory/cgroup.h"

namespace stillframe {
namespace {

constexpr int64_t kRecentNs = 2'000'000'000;
std::atomic<uint64_t> last_available{0};
std::atomic<int64_t> last_look_ns{0};  // 0: never

}  // namespace

uint64_t AvailableMemory() {
  const auto meminfo = ReadSmallFile("/proc/meminfo");
  const auto available_kib = meminfo ? NumberAfter(*meminfo, "MemAvailable:") : std::nullopt;
  uint64_t available = 0;
  if (available_kib) {
    available = *available_kib * 1024;
  } else {
    // /proc has no meminfo (systemd's ProcSubset=pid). The free memory is a smaller figure, which
    // errs on the safe side.
    struct sysinfo system {};
    sysinfo(&system);
    available = (uint64_t{system.freeram} + system.bufferram) * system.mem_unit;
  }
  const MemoryCgroup group = ReadMemoryCgroup();
  if (group.headroom) available = std::min(available, *group.headroom);
  return available;
}

uint64_t RecentlyAvailableMemory() {
  const int64_t looked_at_ns = last_look_ns.load(std::memory_order_acquire);
  const bool is_recent =
      looked_at_ns != 0 && sys::MonotonicNanoseconds() - looked_at_ns <= kRecentNs;
  if (!is_recent) LookAtAvailableMemory();
  return last_available.load(std::memory_order_relaxed);
}

void LookAtAvailableMemory() {
  last_available.store(AvailableMemory(), std::memory_order_relaxed);
  last_look_ns.store(sys::MonotonicNanoseconds(), std::memory_order_release);
}

}  // namespace stillframe
