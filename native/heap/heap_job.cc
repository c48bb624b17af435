#include "heap/heap_job.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
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
#include "capture/stall_watch.h"
#include "freeze/features.h"
#include "freeze/flip_lock.h"
#include "heap/lock_watch.h"
#include "heap/unforkable.h"
#include "heap/worker_park.h"

namespace stillframe {
namespace {

constexpr int64_t kTickNs = 20'000'000;
// Reading how much memory the copy has walks its page tables: this is how often that may be done,
// and for which part of the time.
constexpr int64_t kLookNs = 100'000'000;
constexpr int64_t kLookShare = 20;
// Idle workers are parked in a fraction of a millisecond; on a busy machine a few more pass until
// each gets a processor. One that is marking or compiling may take a second: the call does not wait
// for that.
constexpr std::chrono::milliseconds kParkPatience{5};
constexpr std::chrono::milliseconds kUnboundedPatience{30'000};

// Milliseconds since the last call.
class Lap {
 public:
  double operator()() {
    const int64_t now = MonotonicNanoseconds();
    return static_cast<double>(now - std::exchange(last_, now)) / 1'000'000;
  }

 private:
  int64_t last_ = MonotonicNanoseconds();
};

// Processor time of another process in hundredths of a second.
uint64_t CpuTicks(pid_t pid) {
  clockid_t clock = 0;
  timespec used{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) return 0;
  return static_cast<uint64_t>(used.tv_sec) * 100 +
         static_cast<uint64_t>(used.tv_nsec) / 10'000'000;
}

// The descriptors by which threads and event loops are woken up.
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

// Two jobs that park V8's workers at the same time would each get some of them, and wait for the
// rest.
std::mutex& ParkLock() {
  static auto* lock =
      new std::mutex;  // never destroyed: a Worker may freeze while the process exits
  return *lock;
}

}  // namespace

Result<std::unique_ptr<HeapJob>> HeapJob::Start(HeapRequest request, OnEnd on_end) {
  std::unique_ptr<HeapJob> job(new HeapJob(std::move(request), std::move(on_end)));
  Status ready = job->Prepare();
  if (ready.ok()) ready = job->Freeze();
  job->pid_ = job->process_.pid();
  job->phase_ = ready.ok() ? Phase::kFrozen : Phase::kFailedToFreeze;
  job->phase_.notify_one();
  if (!ready.ok()) return ready.failure();
  return job;
}

HeapJob::~HeapJob() {
  Abort();
  supervisor_.Join();
}

void HeapJob::Abort() {
  abort_ = true;
  if (control_) control_->header()->abort_requested.store(1, std::memory_order_relaxed);
  const uint64_t one = 1;
  if (wake_.valid()) sys::Write(wake_.get(), &one, sizeof one);
}

HeapProgress HeapJob::Progress() const {
  return {control_->header()->bytes_written.load(std::memory_order_relaxed),
          control_->counters()->steps_done.load(std::memory_order_relaxed),
          control_->counters()->steps_total.load(std::memory_order_relaxed),
          child_bytes_.load(std::memory_order_relaxed)};
}

Status HeapJob::Prepare() {
  if (request_.memory_limit == 0) request_.memory_limit = AvailableMemory() / 2;
  if (Status open = disk_.Open(request_.path, request_.target); !open.ok()) return open;
  Result<HeapControl> control = HeapControl::Create();
  if (!control.ok()) return control.failure();
  control_ = std::make_unique<HeapControl>(std::move(control.value()));
  const int wake = sys::Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0)
    return SystemFailure("eventfd2", -wake, "cannot prepare the supervision of the forked copy");
  wake_.Reset(wake);
  Result<HardeningPlan> hardening = process_.Prepare(control_->header(), disk_.target_fd());
  if (!hardening.ok()) return hardening.failure();
  hardening_ = hardening.value();
  return supervisor_.Start("stillframe", [this] { Supervise(); });
}

Status HeapJob::Freeze() {
  const std::lock_guard parking(ParkLock());
  Lap lap;
  uint64_t old_mask = 0;
  const uint64_t all = ~uint64_t{0};
  sys::Sigprocmask(SIG_SETMASK, &all, &old_mask);
  const ScopeGuard unblock([&] { sys::Sigprocmask(SIG_SETMASK, &old_mask, nullptr); });
  WorkerPark park(request_.platform);
  if (!park.Park(StepDisabled("bounded_park") ? kUnboundedPatience : kParkPatience)) {
    return Fail(FailureCode::kNotAtRest, "V8's worker threads are busy");
  }
  times_.park = lap();
  if (request_.before_fork) request_.before_fork();
  times_.ids = lap();
  // Not earlier, since a snapshot() in another thread must not wait for V8's workers.
  const std::lock_guard flipping(FlipLock());
  times_.park += lap();
  Result<std::vector<AddressRange>> unforkable = FindUnforkable(request_.keep_out);
  if (!unforkable.ok()) return unforkable.failure();
  times_.mappings = lap();
  MakeForkable(unforkable.value());
  times_.flip = lap();
  frozen_at_monotonic_ns_ = MonotonicNanoseconds();
  frozen_at_ns_ = WallNanoseconds();
  control_->header()->step.store(SaveStep::kStarting, std::memory_order_relaxed);
  // This is the C library's own fork: the copy allocates, so malloc must know of it.
  const UniqueFd own_maps(sys::Open(AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0));
  const pid_t pid = sys::ForkThroughLibc();
  if (pid == 0) {
    FillMissing(own_maps.get(), request_.keep_out);
    BeChild();
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
  // This also holds for a copy that has ended and that somebody else has waited for: its process id
  // is still unused then.
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

void HeapJob::BeChild() {
  const std::vector<int> wake_ups = EventFds();
  // In a service that has closed its own streams, our descriptors may be where the callback prints
  // to.
  for (int* fd : {&hardening_.target_fd, &hardening_.alive_fd}) {
    if (*fd > STDERR_FILENO) continue;
    *fd = sys::Fcntl(*fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (*fd < 0) sys::ExitGroup(kChildFailed);
  }
  HardenChild(hardening_);
  setpriority(PRIO_PROCESS, 0, std::max(getpriority(PRIO_PROCESS, 0), request_.nice));
  // console and the like write to these. What they write is lost, and reaches no file of the host.
  for (int fd = 0; fd <= 2;) {
    fd = sys::Open(AT_FDCWD, "/dev/null", O_RDWR, 0);
    if (fd < 0) break;
    if (fd > 2) sys::Close(fd);
  }
  // libuv ends the process if it cannot write to these. What it would wake does not exist here.
  for (const int fd : wake_ups) dup2(0, fd);
  EndWhenWaitingForEver(&control_->counters()->waits_for_ever, kChildFailed);
  ControlHeader* control = control_->header();
  control->step.store(SaveStep::kRunning, std::memory_order_relaxed);
  Output output(*control_, hardening_);
  request_.in_child(&output);
  const bool threw = control_->counters()->failure_length.load(std::memory_order_relaxed) != 0;
  // Whatever the callback made of the error, what could not be written is missing from the file.
  if (threw || !output.Finish()) sys::ExitGroup(kChildFailed);
  control->step.store(SaveStep::kFinished, std::memory_order_release);
  // Not exit(), since handlers of the host would join threads that do not exist here.
  sys::ExitGroup(kChildComplete);
}

void HeapJob::Supervise() {
  phase_.wait(Phase::kPreparing);
  if (phase_ == Phase::kFailedToFreeze) {
    MendUnforkable();
    return;
  }
  Result<HeapOutcome> outcome = Run();
  on_end_(std::move(outcome));
}

Result<HeapOutcome> HeapJob::Run() {
  process_.Attach(false);
  if (!left_forkable_.empty()) {
    const std::lock_guard lock(FlipLock());
    left_forkable_ = MakeUnforkable(left_forkable_);
  }
  MendUnforkable();
  disk_.Begin();
  Status saved = Watch();
  if (!saved.ok()) process_.Stop();
  Status collected = process_.Collect();
  if (saved.ok() && !collected.ok()) saved = ExplainEnd(collected.failure());

  Supervision supervision;
  supervision.wake_fd = wake_.get();
  supervision.stall_timeout_ms = request_.stall_timeout_ms;
  supervision.why_stop = [this] { return WhyEnd("publishing the file"); };
  const bool written = saved.ok();
  // It is not ours: work that the disk holds up for longer than we wait outlives us.
  const auto allocated = std::make_shared<uint64_t>(0);
  const auto measure = [allocated](int target_fd, PublishTurn*) -> Status {
    Result<uint64_t> bytes = AllocatedBytes(target_fd);
    if (!bytes.ok()) return bytes.failure();
    *allocated = bytes.value();
    return Success{};
  };
  Status ended = disk_.End(std::move(saved), measure, supervision);
  if (!ended.ok()) {
    // Another copy would meet the same disk.
    if (written && ended.failure().code == FailureCode::kStalled) end_ = JobEnd::kOutOfTime;
    return ended.failure();
  }
  HeapOutcome outcome;
  outcome.file_length = control_->header()->bytes_written.load(std::memory_order_relaxed);
  outcome.allocated_bytes = *allocated;
  outcome.child_bytes_peak = child_bytes_peak_;
  outcome.duration_ms =
      static_cast<double>(MonotonicNanoseconds() - frozen_at_monotonic_ns_) / 1'000'000;
  return outcome;
}

Failure HeapJob::ExplainEnd(Failure failure) {
  const HeapCounters* counters = control_->counters();
  if (counters->out_of_heap.load(std::memory_order_relaxed) != 0) {
    return Fail(FailureCode::kChildOom, "the forked copy reached the limit of V8's heap");
  }
  if (counters->touched_left_out.load(std::memory_order_relaxed) != 0) {
    return Fail(FailureCode::kCallback,
                "the callback used the memory of a Region, which is not in the frozen copy: "
                "save it with snapshot(), or copy what is needed before the call");
  }
  if (counters->waits_for_ever.load(std::memory_order_relaxed) != 0) {
    end_ = JobEnd::kHeldLock;
    Failure held = Fail(FailureCode::kChildDied,
                        "the forked copy had to wait for a lock that another thread of the process "
                        "held when it was forked");
    held.syscall = "futex";
    return held;
  }
  const bool writing = control_->header()->error_number.load(std::memory_order_acquire) != 0;
  if (!writing && counters->failure_length.load(std::memory_order_acquire) != 0) {
    return Fail(FailureCode::kCallback, "the callback threw");
  }
  return failure;
}

Status HeapJob::WhyEnd(const char* step) {
  if (abort_) return Fail(FailureCode::kAborted, "the capture was aborted");
  const int64_t ran_ms = (MonotonicNanoseconds() - frozen_at_monotonic_ns_) / 1'000'000;
  if (request_.timeout_ms > 0 && ran_ms > request_.timeout_ms) {
    end_ = JobEnd::kOutOfTime;
    return Fail(FailureCode::kStalled, "not done after " + std::to_string(request_.timeout_ms) +
                                           " ms, while " + step + " (timeoutMs)");
  }
  return Success{};
}

Status HeapJob::WhyStop(StallWatch* stall) {
  const ControlHeader* control = control_->header();
  const char* step = SaveStepName(control->step.load(std::memory_order_relaxed));
  if (Status end = WhyEnd(step); !end.ok()) return end;
  // A callback may compute for long without writing: a process that uses the processor is not
  // stuck.
  const uint64_t pulse = control->heartbeat.load(std::memory_order_relaxed) + CpuTicks(pid_);
  if (stall->Silent(pulse) > request_.stall_timeout_ms * 1'000'000) {
    return Fail(FailureCode::kStalled, "no progress for " +
                                           std::to_string(request_.stall_timeout_ms) +
                                           " ms while " + step + " (stallTimeoutMs)");
  }
  return Success{};
}

Status HeapJob::Watch() {
  StallWatch stall(kTickNs);
  int64_t next_look_ns = 0;
  for (;;) {
    pollfd events[2] = {{process_.wait_fd(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
    const timespec tick{0, kTickNs};
    const int ready = sys::Ppoll(events, 2, &tick);
    if (ready < 0 && ready != -EINTR) {
      return SystemFailure("ppoll", -ready, "cannot watch over the forked copy");
    }
    if (ready > 0 && events[0].revents != 0) return Success{};
    if (Status go_on = WhyStop(&stall); !go_on.ok()) return go_on;

    const int64_t started_ns = MonotonicNanoseconds();
    if (started_ns < next_look_ns) continue;
    const Result<uint64_t> bytes = process_.OwnBytes();
    const int64_t took_ns = MonotonicNanoseconds() - started_ns;
    next_look_ns = started_ns + std::max(kLookNs, took_ns * kLookShare);
    if (!bytes.ok()) continue;
    child_bytes_.store(bytes.value(), std::memory_order_relaxed);
    child_bytes_peak_ = std::max(child_bytes_peak_, bytes.value());
    if (bytes.value() > request_.memory_limit) {
      return Fail(FailureCode::kMemoryLimit,
                  "the forked copy has taken " + std::to_string(bytes.value()) +
                      " bytes of its own, the limit is " + std::to_string(request_.memory_limit) +
                      " (memoryLimit)");
    }
  }
}

}  // namespace stillframe
