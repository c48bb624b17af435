#include "freeze/fork_engine.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <utility>

#include "base/disabled_steps.h"
#include "base/scope_guard.h"
#include "base/small_file.h"
#include "base/thread.h"
#include "memory/page.h"

namespace stillframe {
namespace {

// A killed process is gone in well under this, unless the kernel cannot let go of it.
constexpr timespec kKillGrace{1, 0};

// Held from the first DOFORK to the last DONTFORK. The child inherits it locked and never looks at it.
std::mutex& FlipLock() {
  static auto* lock =
      new std::mutex;  // never destroyed: a Worker may freeze while the process exits
  return *lock;
}

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

// Which sources share no byte with another one. Releasing the others' pages would take bytes that are still
// to be saved: the same memory may be captured under two names.
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

// Forks. Returns the child's pid and its pidfd, 0 in the child, or -errno.
int64_t Fork(int* pidfd) {
  if (!StepDisabled("clone3")) {
    clone_args args{};
    args.flags = CLONE_PIDFD;
    args.pidfd = reinterpret_cast<uint64_t>(pidfd);
    args.exit_signal = 0;
    const int64_t pid = sys::Clone3(&args, sizeof args);
    // Before Linux 5.3, and where a filter does not know the call.
    if (pid != -ENOSYS && pid != -EPERM) return pid;
  }
  return sys::Clone(CLONE_PIDFD, pidfd);
}

// sigabbrev_np() is not in musl.
std::string SignalName(int signal) {
  switch (signal) {
    case SIGABRT:
      return "SIGABRT";
    case SIGBUS:
      return "SIGBUS";
    case SIGINT:
      return "SIGINT";
    case SIGKILL:
      return "SIGKILL";
    case SIGSEGV:
      return "SIGSEGV";
    case SIGTERM:
      return "SIGTERM";
    case SIGUSR1:
      return "SIGUSR1";
    default:
      return "signal " + std::to_string(signal);
  }
}

// 0, or -errno, and how the process behind the pidfd ended.
int WaitFor(int pidfd, siginfo_t* info) {
  for (;;) {
    // __WALL: without an exit signal it counts as a clone, which a plain wait does not see.
    const int error = sys::Waitid(P_PIDFD, pidfd, info, WEXITED | __WALL);
    if (error != -EINTR) return error;
  }
}

// How many processes the OOM killer has taken on this system so far.
std::optional<uint64_t> OomKills() {
  const auto vmstat = ReadSmallFile("/proc/vmstat");
  return vmstat ? NumberAfter(*vmstat, "oom_kill") : std::nullopt;
}

}  // namespace

ForkEngine::ForkEngine() = default;

ForkEngine::~ForkEngine() {
  if (pid_ == 0) return;
  Stop();
  (void)Collect();
}

Status ForkEngine::Prepare(const FreezePlan& plan) {
  plan_ = &plan;
  const std::vector<uint8_t> releasable = FindReleasable(plan.sources);
  for (size_t i = 0; i < plan.sources.size(); i++) {
    forked_sources_.push_back({plan.sources[i].data, releasable[i] != 0});
  }
  left_forkable_.reserve(plan.sources.size());
  pages_.sources = forked_sources_.data();
  pages_.page_size = SystemPageSize();
  int fds[2] = {-1, -1};
  if (const int error = sys::Pipe2(fds, O_CLOEXEC); error < 0) {
    return SystemFailure("pipe2", -error, "cannot make the pipe that tells the child of our end");
  }
  alive_read_.Reset(fds[0]);
  alive_write_.Reset(fds[1]);
  child_.save = plan.save;
  child_.save.pages = &pages_;
  child_.alive_fd = alive_read_.get();
  child_.use_close_range = !StepDisabled("close_range");
  return Success{};
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
  pid_ = static_cast<pid_t>(pid);
  pidfd_.Reset(pidfd);
  return Success{};
}

void ForkEngine::Attach() {
  if (!left_forkable_.empty()) {
    // The kernel was short of memory for it. Later than this the memory may not be ours to advise any more.
    const std::lock_guard lock(FlipLock());
    for (const size_t i : left_forkable_) MakeUnforkable(plan_->sources[i]);
    left_forkable_.clear();
  }
  alive_read_.Reset();
  oom_kills_before_ = OomKills();
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid_);
  const int fd = sys::Open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
  if (fd >= 0) smaps_rollup_.Reset(fd);
  ControlHeader* control = plan_->save.control;
  control->parent_ready.store(1, std::memory_order_release);
  sys::Futex(&control->parent_ready, FUTEX_WAKE, 1, nullptr);
}

Result<CopyCost> ForkEngine::Cost() {
  // Pages that only the child maps are those that the service has written since the fork, and so has
  // copied. Given back pages are in nobody's count.
  const auto text = smaps_rollup_.valid() ? ReadSmallFile(smaps_rollup_.get()) : std::nullopt;
  const auto dirty = text ? NumberAfter(*text, "Private_Dirty:") : std::nullopt;
  const auto clean = text ? NumberAfter(*text, "Private_Clean:") : std::nullopt;
  if (!dirty || !clean) {
    Failure failure;
    failure.message = "cannot read the memory of the forked copy";
    return failure;
  }
  const uint64_t bytes = (*dirty + *clean) * 1024;
  cost_peak_ = std::max(cost_peak_, bytes);
  // How many copies there were in all nobody counts; each page at the peak was one.
  return CopyCost{bytes, cost_peak_, cost_peak_ / SystemPageSize()};
}

void ForkEngine::Stop() {
  if (pid_ == 0 || stopped_) return;
  stopped_ = true;
  sys::PidfdSendSignal(pidfd_.get(), SIGKILL);
}

Failure ForkEngine::HowItDied(int code, int status) {
  Failure failure;
  failure.code = FailureCode::kChildDied;
  const std::string step = SaveStepName(plan_->save.control->step.load(std::memory_order_relaxed));
  if (code == CLD_EXITED) {
    failure.message =
        "the forked copy ended with status " + std::to_string(status) + " while " + step;
    return failure;
  }
  failure.message = "the forked copy was killed by " + SignalName(status) + " while " + step;
  const auto oom_kills = OomKills();
  if (status == SIGKILL && oom_kills && oom_kills_before_ && *oom_kills > *oom_kills_before_) {
    failure.code = FailureCode::kChildOom;
    failure.message +=
        ": memory ran out, and the kernel took it first so that the service could go on";
  }
  return failure;
}

bool ForkEngine::EndsInTime() {
  pollfd watch{pidfd_.get(), POLLIN, 0};
  int ready = 0;
  do {
    ready = sys::Ppoll(&watch, 1, &kKillGrace);
  } while (ready == -EINTR);
  if (ready != 0) return true;
  // In uninterruptible sleep: a frozen filesystem, a network disk without its server. SIGKILL is pending.
  auto pidfd = std::make_shared<UniqueFd>(std::move(pidfd_));
  const Status reaping = Thread::StartDetached("stillframe-reap", [pidfd] {
    siginfo_t info{};
    WaitFor(pidfd->get(), &info);
    pidfd->Reset();
  });
  left_behind_ = reaping.ok();
  if (!left_behind_) pidfd_ = std::move(*pidfd);
  return !left_behind_;
}

Status ForkEngine::Collect() {
  if (pid_ == 0) return Success{};
  siginfo_t info{};
  if (stopped_ && !EndsInTime()) {
    pid_ = 0;
    Failure failure;
    failure.code = FailureCode::kStalled;
    failure.message =
        "the forked copy waits for the disk inside the kernel and cannot be killed yet";
    return failure;
  }
  const int error = WaitFor(pidfd_.get(), &info);
  pid_ = 0;
  if (error < 0) return SystemFailure("waitid", -error, "cannot learn how the forked copy ended");
  if (info.si_code == CLD_EXITED && info.si_status == kChildComplete) return Success{};
  const ControlHeader* control = plan_->save.control;
  if (const int saver_error = control->error_number.load(std::memory_order_acquire)) {
    const bool writing = control->error_step.load(std::memory_order_relaxed) == SaveStep::kWriting;
    Failure failure =
        SystemFailure(writing ? "pwrite" : "", saver_error,
                      std::string("failed while ") +
                          SaveStepName(control->error_step.load(std::memory_order_relaxed)));
    return failure;
  }
  if (info.si_code == CLD_EXITED && info.si_status == kChildAborted) {
    Failure failure;
    failure.code = FailureCode::kAborted;
    failure.message = "the capture was aborted";
    return failure;
  }
  return HowItDied(info.si_code, info.si_status);
}

}  // namespace stillframe
