#include "memory/huge_pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/disabled_steps.h"
#include "base/small_file.h"
#include "base/sys.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "memory/page.h"

// Newer than the headers of Debian 12.
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace stillframe {
namespace {

// Each call holds the lock of the address space while it copies 2 MiB. The pause lets other threads
// take it.
constexpr timespec kBreath{0, 200'000};

// True if each of the small pages in these 2 MiB is present and exclusive to this mapping. Pages
// that were only read (a capture reads them, too) are not: they all map the kernel's single zero
// page.
bool IsThereAsAWhole(int pagemap, const std::byte* start) {
  constexpr uint64_t kMappedByNobodyElse = uint64_t{1} << 56;
  const size_t count = kHugePageSize / SystemPageSize();
  std::vector<uint64_t> entries(count);
  const auto length = static_cast<int64_t>(count * sizeof(uint64_t));
  const uint64_t offset = reinterpret_cast<uintptr_t>(start) / SystemPageSize() * sizeof(uint64_t);
  if (sys::Pread(pagemap, entries.data(), static_cast<size_t>(length), offset) != length)
    return false;
  return std::all_of(entries.begin(), entries.end(),
                     [](uint64_t entry) { return (entry & kMappedByNobodyElse) != 0; });
}

void Collapse(int pagemap, const std::shared_ptr<RegionMemory>& region) {
  std::byte* const end = region->data() + region->mapped_length();
  for (std::byte* at = region->data(); at + kHugePageSize <= end; at += kHugePageSize) {
    // Either only this thread still needs the region, or the region is being frozen at this moment.
    // In both cases collapsing would be wasted work.
    if (region.use_count() == 1 || region->busy()) return;
    if (!IsThereAsAWhole(pagemap, at)) continue;
    const int64_t started = MonotonicNanoseconds();
    const int error = sys::Madvise(at, kHugePageSize, MADV_COLLAPSE);
    // No huge page is free at present, or none ever is. Any other error concerns only these 2 MiB
    // (they were never touched).
    if (error == -ENOMEM || error == -EAGAIN) return;
    if (error == 0 && MonotonicNanoseconds() - started > kBreath.tv_nsec / 4)
      nanosleep(&kBreath, nullptr);
  }
}

}  // namespace

bool HugePagesOff() {
  const auto enabled = ReadSmallFile("/sys/kernel/mm/transparent_hugepage/enabled");
  return !enabled || enabled->find("[never]") != std::string::npos;
}

void CollapseInBackground(std::vector<std::shared_ptr<RegionMemory>> regions) {
  if (StepDisabled("collapse")) return;
  std::erase_if(
      regions, [](const auto& region) { return !region->huge_pages() || !region->TakeCollapse(); });
  if (regions.empty()) return;
  const Status started = Thread::StartDetached("stillframe-huge", [regions]() mutable {
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 19);
    const UniqueFd pagemap(sys::Open(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0));
    const bool wanted = pagemap.valid() && !HugePagesOff();
    for (auto& region : regions) {
      if (wanted) Collapse(pagemap.get(), region);
      region->GiveCollapse();
      region.reset();
    }
  });
  if (started.ok()) return;
  for (const auto& region : regions) region->GiveCollapse();
}

}  // namespace stillframe
