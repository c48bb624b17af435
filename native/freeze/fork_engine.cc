#include "freeze/fork_engine.h"

#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <numeric>
#include <optional>
#include <utility>

#include "base/disabled_steps.h"
#include "base/scope_guard.h"
#include "freeze/flip_lock.h"
#include "memory/cgroup.h"
#include "memory/mapping_list.h"
#include "memory/page.h"

namespace stillframe {
namespace {

struct PageRange {
  std::byte* start;
  size_t length;
};

PageRange WholePages(const FreezeSource& source) {
  const auto first = RoundDown(reinterpret_cast<uintptr_t>(source.data), SystemPageSize());
  const auto end =
      RoundUp(reinterpret_cast<uintptr_t>(source.data) + source.byte_length, SystemPageSize());
  return {reinterpret_cast<std::byte*>(first), end - first};
}

// Marks the sources that share no byte with another source. The same memory may be captured under
// two names, and releasing pages of a shared source would lose bytes that are still to be saved.
std::vector<uint8_t> FindReleasable(const std::vector<FreezeSource>& sources) {
  std::vector<size_t> by_start(sources.size());
  std::iota(by_start.begin(), by_start.end(), size_t{0});
  std::sort(by_start.begin(), by_start.end(),
            [&](size_t a, size_t b) { return sources[a].data < sources[b].data; });
  std::vector<uint8_t> releasable(sources.size(), 1);
  const auto end_of = [&](size_t i) { return sources[i].data + sources[i].byte_length; };
  for (size_t i = 1, furthest = by_start.empty() ? 0 : by_start[0]; i < by_start.size(); i++) {
    const size_t here = by_start[i];
    if (end_of(furthest) > sources[here].data) releasable[furthest] = releasable[here] = 0;
    if (end_of(here) > end_of(furthest)) furthest = here;
  }
  return releasable;
}

// True if the copies of all pages could take more than the memory cgroup has left.
bool MayExhaust(uint64_t headroom, const FreezePlan& plan) {
  uint64_t source_bytes = 0;
  for (const FreezeSource& source : plan.sources) source_bytes += source.byte_length;
  return source_bytes > headroom;
}

// Forks. Returns the child's pid and its pidfd, 0 in the child, or -errno.
int64_t Fork(int* pidfd) {
  if (!StepDisabled("clone3")) {
    clone_args args{};
    args.flags = CLONE_PIDFD;
    args.pidfd = reinterpret_cast<uint64_t>(pidfd);
    args.exit_signal = 0;
    const int64_t pid = sys::Clone3(&args, sizeof args);
    // The fallback is for kernels before Linux 5.3, and for filters that do not know clone3.
    if (pid != -ENOSYS && pid != -EPERM) return pid;
  }
  return sys::Clone(CLONE_PIDFD, pidfd);
}

}  // namespace

ForkEngine::ForkEngine() = default;

ForkEngine::~ForkEngine() = default;

Status ForkEngine::Prepare(const FreezePlan& plan) {
  plan_ = &plan;
  const std::vector<uint8_t> releasable = FindReleasable(plan.sources);
  for (size_t i = 0; i < plan.sources.size(); i++) {
    const RegionMemory* region = plan.sources[i].region.get();
    const bool of_file = region != nullptr && region->mapped_from().has_value();
    forked_sources_.push_back({plan.sources[i].data, releasable[i] != 0, of_file});
  }
  left_forkable_.reserve(plan.sources.size());
  pages_.sources = forked_sources_.data();
  pages_.page_size = SystemPageSize();
  Result<HardeningPlan> hardening = process_.Prepare(plan.save.control, plan.save.sink->fd());
  if (!hardening.ok()) return hardening.failure();
  child_.hardening = hardening.value();
  const bool any_of_file = std::any_of(forked_sources_.begin(), forked_sources_.end(),
                                       [](const ForkedSource& source) { return source.of_file; });
  if (plan.save.delta && any_of_file) child_.hardening.pagemap_fd = &pages_.pagemap_fd;
  child_.save = plan.save;
  child_.save.pages = &pages_;
  LeaveTheCopyAlone();
  return Success{};
}

// The OOM killer of a cgroup waits for a killed process only while it can find the process through
// its first thread. If that thread is gone while another thread, or a reader of its smaps_rollup,
// still keeps the memory, the service is killed next.
void ForkEngine::LeaveTheCopyAlone() {
  constexpr uint64_t kOvershoot = uint64_t{1} << 30;  // roughly what is written between two looks
  const std::optional<uint64_t> headroom = ReadMemoryCgroup().headroom;
  if (!headroom || !MayExhaust(*headroom, *plan_)) return;
  const uint64_t beyond_limit = *headroom - std::min(*headroom, plan_->memory_limit);
  if (beyond_limit < kOvershoot) child_.save.saver_count = 1;
  measures_ = beyond_limit > 0;
}

Status ForkEngine::MakeForkable() {
  for (size_t i = 0; i < plan_->sources.size(); i++) {
    const FreezeSource& source = plan_->sources[i];
    if (!source.dont_fork || source.byte_length == 0) continue;
    const PageRange range = WholePages(source);
    if (const int error = sys::Madvise(range.start, range.length, MADV_DOFORK); error < 0) {
      MakeUnforkable(i);
      return SystemFailure("madvise", -error, "cannot let the forked copy have a source's pages");
    }
  }
  return Success{};
}

void ForkEngine::MakeUnforkable(size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!MakeUnforkable(plan_->sources[i])) left_forkable_.push_back(i);
  }
}

bool ForkEngine::MakeUnforkable(const FreezeSource& source) {
  if (!source.dont_fork || source.byte_length == 0) return true;
  const PageRange range = WholePages(source);
  return sys::Madvise(range.start, range.length, MADV_DONTFORK) == 0;
}

Status ForkEngine::Freeze() {
  int pidfd = -1;
  int64_t pid = 0;
  plan_->save.control->step.store(SaveStep::kStarting, std::memory_order_relaxed);
  {
    const std::lock_guard lock(FlipLock());
    uint64_t old_mask = 0;
    const uint64_t all = ~uint64_t{0};
    sys::Sigprocmask(SIG_SETMASK, &all, &old_mask);
    const ScopeGuard unblock([&] { sys::Sigprocmask(SIG_SETMASK, &old_mask, nullptr); });
    if (Status forkable = MakeForkable(); !forkable.ok()) return forkable;
    pid = Fork(&pidfd);
    if (pid == 0) RunChild(child_);
    MakeUnforkable(plan_->sources.size());
  }
  if (pid < 0) {
    const auto error = static_cast<int>(-pid);
    return SystemFailure(
        "clone", error,
        error == ENOMEM
            ? "the kernel refused to fork: not enough memory for the page tables, or "
              "vm.overcommit_memory=2 does not allow a second copy"
            : "the kernel refused to fork (limits on processes: ulimit -u, pids cgroup)");
  }
  process_.Adopt(static_cast<pid_t>(pid), pidfd);
  return Success{};
}

Status ForkEngine::Attach() {
  if (!left_forkable_.empty()) {
    // The kernel was short of memory for the madvise call. Any later, the memory may no longer
    // be ours to advise.
    const std::lock_guard lock(FlipLock());
    for (const size_t i : left_forkable_) MakeUnforkable(plan_->sources[i]);
    left_forkable_.clear();
  }
  process_.Open(plan_->will_peek);
  if (Status carried = CheckCarriedOver(); !carried.ok()) return carried;
  process_.LetGo();
  return Success{};
}

Status ForkEngine::CheckCarriedOver() const {
  const auto is_asked = [](const FreezeSource& source) {
    return source.foreign && source.byte_length > 0;
  };
  if (std::none_of(plan_->sources.begin(), plan_->sources.end(), is_asked)) return Success{};
  // Reads the copy's own list, since reading the service's would delay threads that map memory.
  Result<std::vector<AdvisedMapping>> mappings = ReadAdvice(process_.pid());
  if (!mappings.ok()) {
    mappings = ReadAdvice();
    if (!mappings.ok()) return Success{};  // without /proc the copy itself finds what is missing
  } else if (!process_.HasMemory()) {
    return Success{};  // it has been killed, and its list is cut short
  }
  for (const FreezeSource& source : plan_->sources) {
    if (!is_asked(source)) continue;
    const CarriedOver carried =
        HowCarriedOver(mappings.value(), source.data, source.byte_length, source.dont_fork);
    if (carried == CarriedOver::kWhole) continue;
    return Fail(FailureCode::kEngineUnavailable,
                "section '" + std::string(source.name) +
                    "' lies in memory that a forked copy does not get as it is: it, or a part "
                    "of it, is " +
                    (carried == CarriedOver::kWiped ? "wiped there (MADV_WIPEONFORK)"
                                                    : "left out there (MADV_DONTFORK)") +
                    "; copy it into a Region or an ArrayBuffer first");
  }
  return Success{};
}

void ForkEngine::Peek(uint32_t source, uint64_t offset, uint64_t length, std::byte* out) {
  process_.Peek(plan_->sources[source].data + offset, length, out);
  // Savers take the chunks in order. Pages of a mapped file that they have given back belong to the
  // file again, not to the copy.
  std::atomic_thread_fence(std::memory_order_acquire);
  const SaveSection& section = plan_->save.sections[source];
  const uint64_t chunk = section.first_chunk + offset / kChunkSize;
  if (plan_->save.control->next_chunk.load(std::memory_order_acquire) > chunk) {
    memset(out, 0, length);
  }
}

Result<CopyCost> ForkEngine::Cost() {
  // Pages that only the child maps are those that the service has written to, and so copied, since
  // the fork. Pages that were given back are not counted anywhere.
  if (!measures_) {
    return Fail(FailureCode::kIo, "the memory of the forked copy is not looked at");
  }
  Result<uint64_t> bytes = process_.OwnBytes();
  if (!bytes.ok()) return bytes.failure();
  cost_peak_ = std::max(cost_peak_, bytes.value());
  // The total number of copies is not counted anywhere; each page at the peak was one.
  return CopyCost{bytes.value(), cost_peak_, cost_peak_ / SystemPageSize()};
}

}  // namespace stillframe
