#include "memory/huge_pages.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/clock.h"
#include "base/disabled_steps.h"
#include "base/sys.h"
#include "base/thread.h"
#include "memory/page.h"

// Newer than the headers of Debian 12.
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace stillframe {
namespace {

// Each call holds the lock of the address space while it copies 2 MiB; the pause lets others have it.
constexpr timespec kBreath{0, 200'000};

void Collapse(const std::shared_ptr<RegionMemory>& region) {
  std::byte* const end = region->data() + region->mapped_length();
  for (std::byte* at = region->data(); at + kHugePageSize <= end; at += kHugePageSize) {
    // Nobody but us needs it any more, or it is being frozen just now: what is put together would be for
    // nothing.
    if (region.use_count() == 1 || region->busy()) return;
    const int64_t started = MonotonicNanoseconds();
    const int error = sys::Madvise(at, kHugePageSize, MADV_COLLAPSE);
    // No huge page to be had now, or none ever. Anything else concerns this one only (it was never touched).
    if (error == -ENOMEM || error == -EAGAIN) return;
    if (error == 0 && MonotonicNanoseconds() - started > kBreath.tv_nsec / 4)
      nanosleep(&kBreath, nullptr);
  }
}

}  // namespace

void CollapseInBackground(std::vector<std::shared_ptr<RegionMemory>> regions) {
  if (StepDisabled("collapse")) return;
  std::erase_if(
      regions, [](const auto& region) { return !region->huge_pages() || !region->TakeCollapse(); });
  if (regions.empty()) return;
  const Status started = Thread::StartDetached("stillframe-huge", [regions]() mutable {
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 19);
    for (auto& region : regions) {
      Collapse(region);
      region->GiveCollapse();
      region.reset();
    }
  });
  if (started.ok()) return;
  for (const auto& region : regions) region->GiveCollapse();
}

}  // namespace stillframe
