#include "heap/fork_job.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/disabled_steps.h"
#include "base/scope_guard.h"
#include "freeze/flip_lock.h"
#include "heap/self_watch.h"
#include "heap/unforkable.h"
#include "heap/worker_park.h"
#include "memory/region.h"
#include "publish/stall_watch.h"

namespace stillframe {
namespace {

// Reading the memory use of the copy walks its page tables. These limit how often that happens, and
// the share of time that it takes (1 / kLookShare).
constexpr int64_t kLookNs = 100'000'000;
constexpr int64_t kLookShare = 20;
constexpr std::chrono::milliseconds kUnboundedPatience{30'000};

// Returns the milliseconds since the last call.
class Lap {
 public:
  double operator()() {
    const int64_t now = MonotonicNanoseconds();
    return static_cast<double>(now - std::exchange(last_, now)) / 1'000'000;
  }

 private:
  int64_t last_ = MonotonicNanoseconds();
};

// The descriptors that wake up threads and event loops.
std::vector<int> EventFds() {
  std::vector<int> found;
  DIR* descriptors = opendir("/proc/self/fd");
  if (descriptors == nullptr) return found;
  while (const dirent* entry = readdir(descriptors)) {
    char target[64];
    const ssize_t length = readlinkat(dirfd(descriptors), entry->d_name, target, sizeof target);
    if (std::string_view(target, length < 0 ? 0 : static_cast<size_t>(length)) ==
        "anon_inode:[eventfd]") {
      found.push_back(atoi(entry->d_name));
    }
  }
  closedir(descriptors);
  return found;
}

// If two jobs parked V8's workers at the same time, each would get some of them and wait for the
// rest.
std::mutex& ParkLock() {
  // Never destroyed: a Worker may freeze while the process exits.
  static auto* lock = new std::mutex;
  return *lock;
}

}  // namespace

Result<std::unique_ptr<ForkJob>> ForkJob::Start(ForkPlan plan, OnEnd on_end) {
  std::unique_ptr<ForkJob> job(new ForkJob(std::move(plan), std::move(on_end)));
  Status ready = job->Prepare();
  if (ready.ok()) ready = job->Freeze();
  job->pid_ = job->process_.pid();
  job->supervisor_.Frozen(ready.ok());
  if (!ready.ok()) return ready.failure();
  return job;
}

ForkJob::~ForkJob() {
  Abort();
  supervisor_.Join();
}

ForkProgress ForkJob::Progress() const {
  return {control_->header()->bytes_written.load(std::memory_order_relaxed),
          control_->counters()->steps_done.load(std::memory_order_relaxed),
          control_->counters()->steps_total.load(std::memory_order_relaxed),
          child_bytes_.load(std::memory_order_relaxed)};
}

Status ForkJob::Prepare() {
  memory_limit_ = plan_.limits.MemoryLimit();
  if (!plan_.pipe) {
    if (Status open = supervisor_.Open(plan_.target); !open.ok()) return open;
  }
  Result<HeapControl> control = HeapControl::Create();
  if (!control.ok()) return control.failure();
  control_ = std::make_unique<HeapControl>(std::move(control.value()));
  Result<HardeningPlan> hardening = process_.Prepare(
      control_->header(), plan_.pipe ? plan_.pipe->get() : supervisor_.target().fd());
  if (!hardening.ok()) return hardening.failure();
  hardening_ = hardening.value();
  if (plan_.outlives_service) {
    hardening_.outlives_parent = true;
    hardening_.directory_fd = supervisor_.target().directory_fd();
    supervisor_.LeavePublishing();
  }
  return supervisor_.Start(this, control_->header(), plan_.limits);
}

Status ForkJob::Freeze() {
  const std::lock_guard parking(ParkLock());
  Lap lap;
  uint64_t old_mask = 0;
  const uint64_t all = ~uint64_t{0};
  sys::Sigprocmask(SIG_SETMASK, &all, &old_mask);
  const ScopeGuard unblock([&] { sys::Sigprocmask(SIG_SETMASK, &old_mask, nullptr); });
  WorkerPark park(plan_.platform);
  if (!park.Park(StepDisabled("bounded_park") ? kUnboundedPatience : plan_.park_patience)) {
    return Fail(FailureCode::kNotAtRest, "V8's worker threads are busy");
  }
  times_.park = lap();
  if (plan_.before_fork) plan_.before_fork();
  times_.ids = lap();
  left_out_ = RegionMemory::AllRanges();
  // Not taken earlier, since a snapshot() in another thread must not wait for V8's workers.
  const std::lock_guard flipping(FlipLock());
  times_.park += lap();
  Result<std::vector<AddressRange>> unforkable = FindUnforkable(left_out_);
  if (!unforkable.ok()) return unforkable.failure();
  times_.mappings = lap();
  MakeForkable(unforkable.value());
  times_.flip = lap();
  supervisor_.NoteInstant();
  control_->header()->step.store(SaveStep::kStarting, std::memory_order_relaxed);
  // This is the C library's own fork: malloc has to know of it, since the copy allocates.
  const UniqueFd own_maps(sys::Open(AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0));
  const pid_t pid = sys::ForkThroughLibc();
  if (pid == 0) {
    FillMissing(own_maps.get(), left_out_);
    BeChild(unforkable.value());
  }
  times_.fork = lap();
  left_forkable_ = MakeUnforkable(unforkable.value());
  if (pid < 0) {
    return SystemFailure(
        "fork", -pid,
        pid == -ENOMEM
            ? "the kernel refused to fork: not enough memory for the page tables, or "
              "vm.overcommit_memory=2 does not allow a second copy"
            : "the kernel refused to fork (limits on processes: ulimit -u, pids cgroup)");
  }
  // This also works if the copy has ended and something else has waited for it: its process id is
  // still unused then.
  const int pidfd = sys::PidfdOpen(pid);
  if (pidfd < 0) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return SystemFailure("pidfd_open", -pidfd, "cannot watch over the forked copy");
  }
  process_.Adopt(pid, pidfd);
  times_.restore = lap();
  return Success{};
}

void ForkJob::MoveBeyondStreams() {
  for (int* fd : {&hardening_.target_fd, &hardening_.alive_fd}) {
    if (*fd > STDERR_FILENO) continue;
    *fd = sys::Fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (*fd < 0) sys::ExitGroup(kChildFailed);
  }
}

void ForkJob::BeChild(const std::vector<AddressRange>& v8_memory) {
  const std::vector<int> wake_ups = EventFds();
  // If the service has closed its own streams, our descriptors may have their numbers, which the
  // callback prints to. (A copy that publishes the file itself has no callback, and needs the
  // target as it was opened.)
  if (!plan_.outlives_service) MoveBeyondStreams();
  HardenChild(hardening_);
  setpriority(PRIO_PROCESS, 0, std::max(getpriority(PRIO_PROCESS, 0), plan_.pacing.nice));
  // console and others write to the standard streams. Their output is discarded, and reaches no
  // file of the host.
  int nowhere = 0;
  do {
    nowhere = sys::Open(AT_FDCWD, "/dev/null", O_RDWR, 0);
  } while (nowhere >= 0 && nowhere <= STDERR_FILENO);
  // libuv ends the process if it cannot write to these descriptors. The threads that they would
  // wake do not exist here.
  for (const int fd : wake_ups) dup2(nowhere, fd);
  SelfLimits alone;
  if (plan_.outlives_service) {
    alone = {memory_limit_, plan_.limits.timeout_ms, plan_.limits.stall_timeout_ms};
  }
  WatchOverSelf(*control_, alone, kChildFailed);
  ControlHeader* control = control_->header();
  control->step.store(SaveStep::kRunning, std::memory_order_relaxed);
  Output output(*control_, hardening_, plan_.pipe ? Output::Target::kPipe : Output::Target::kFile);
  plan_.in_child(&output, left_out_, v8_memory);
  const bool threw = control_->counters()->failure_length.load(std::memory_order_relaxed) != 0;
  // A failed write means that data is missing from the file, even if the callback has caught the
  // error.
  if (threw || !output.Finish()) sys::ExitGroup(kChildFailed);
  if (plan_.outlives_service) PublishInCopy();
  control->step.store(SaveStep::kFinished, std::memory_order_release);
  // Not exit(), since exit handlers of the host would join threads that do not exist here.
  sys::ExitGroup(kChildComplete);
}

void ForkJob::PublishInCopy() {
  ControlHeader* control = control_->header();
  control->step.store(SaveStep::kPublishing, std::memory_order_relaxed);
  Status published = supervisor_.PublishInCopy();
  if (published.ok()) {
    if (plan_.after_publishing) plan_.after_publishing();
    return;
  }
  control->error_step.store(SaveStep::kPublishing, std::memory_order_relaxed);
  control->error_number.store(published.failure().error_number, std::memory_order_release);
  sys::ExitGroup(kChildFailed);
}

Status ForkJob::Attach() {
  process_.Attach(false);
  if (!left_forkable_.empty()) {
    const std::lock_guard lock(FlipLock());
    left_forkable_ = MakeUnforkable(left_forkable_);
  }
  MendUnforkable();
  return Success{};
}

uint64_t ForkJob::Pulse() const {
  const ControlHeader& header = *control_->header();
  clockid_t cpu_clock = 0;
  if (clock_getcpuclockid(pid_, &cpu_clock) != 0) {
    return header.heartbeat.load(std::memory_order_relaxed);
  }
  return PulseOf(header, cpu_clock);
}

Status ForkJob::Look() {
  const int64_t started_ns = MonotonicNanoseconds();
  if (started_ns < next_look_ns_) return Success{};
  // Measured in processor time and not in wall time: on a busy machine we may wait for a processor,
  // and a longer interval would let the copy take gigabytes until the next look.
  const int64_t used_ns = ThreadCpuNanoseconds();
  const Result<uint64_t> bytes = process_.AllocatedBytes();
  const int64_t took_ns = ThreadCpuNanoseconds() - used_ns;
  next_look_ns_ = started_ns + std::max(kLookNs, took_ns * kLookShare);
  if (!bytes.ok()) return Success{};
  child_bytes_.store(bytes.value(), std::memory_order_relaxed);
  child_bytes_peak_ = std::max(child_bytes_peak_, bytes.value());
  if (bytes.value() <= memory_limit_) return Success{};
  return TookTooMuch(bytes.value());
}

Failure ForkJob::TookTooMuch(uint64_t bytes) const {
  return Fail(FailureCode::kMemoryLimit, "the forked copy has taken " + std::to_string(bytes) +
                                             " bytes of its own, the limit is " +
                                             std::to_string(memory_limit_) + " (memoryLimit)");
}

Status ForkJob::Saved(Status so_far) {
  if (!so_far.ok()) process_.Stop();
  Status collected = process_.Collect();
  // A file that the copy has published itself exists, whatever failure was about to be reported.
  if (plan_.outlives_service && collected.ok()) return Success{};
  if (!so_far.ok() || collected.ok()) return so_far;
  return ExplainEnd(collected.failure());
}

DiskWork::LastSteps ForkJob::LastSteps() {
  return [allocated = allocated_bytes_](int target_fd, PublishTurn*) -> Status {
    Result<uint64_t> bytes = AllocatedBytes(target_fd);
    if (!bytes.ok()) return bytes.failure();
    *allocated = bytes.value();
    return Success{};
  };
}

void ForkJob::Ended(Status ended) {
  if (supervisor_.out_of_time()) end_ = JobEnd::kOutOfTime;
  if (!ended.ok()) {
    on_end_(ended.failure(), end_);
    return;
  }
  ForkOutcome outcome;
  outcome.file_length = control_->header()->bytes_written.load(std::memory_order_relaxed);
  outcome.allocated_bytes = *allocated_bytes_;
  outcome.child_bytes_peak = child_bytes_peak_;
  outcome.duration_ms = supervisor_.MillisecondsSinceFreeze();
  on_end_(outcome, end_);
}

Failure ForkJob::ExplainEnd(Failure failure) {
  const HeapCounters* counters = control_->counters();
  if (counters->out_of_heap.load(std::memory_order_relaxed) != 0) {
    return Fail(FailureCode::kChildOom, "the forked copy reached the limit of V8's heap");
  }
  if (counters->touched_left_out.load(std::memory_order_relaxed) != 0) {
    return Fail(FailureCode::kCallback,
                "the callback used the memory of a Region, which is not in the frozen copy: "
                "save it with snapshot(), or copy what is needed before the call");
  }
  const char* step = SaveStepName(control_->header()->step.load(std::memory_order_relaxed));
  switch (counters->self_end.load(std::memory_order_relaxed)) {
    case SelfEnd::kNone:
      break;
    case SelfEnd::kWaitsForEver: {
      end_ = JobEnd::kHeldLock;
      Failure held = Fail(FailureCode::kChildDied,
                          "the forked copy had to wait for a lock that another thread of the "
                          "process held when it was forked");
      held.syscall = "futex";
      return held;
    }
    case SelfEnd::kOutOfMemory:
      return TookTooMuch(memory_limit_);
    case SelfEnd::kOutOfTime:
      end_ = JobEnd::kOutOfTime;
      return NotDone(plan_.limits.timeout_ms, step);
    case SelfEnd::kStalled:
      return NoProgress(plan_.limits.stall_timeout_ms, step);
  }
  const bool writing = control_->header()->error_number.load(std::memory_order_acquire) != 0;
  if (!writing && counters->failure_length.load(std::memory_order_acquire) != 0) {
    return Fail(FailureCode::kCallback, "the callback threw");
  }
  return failure;
}

}  // namespace stillframe
