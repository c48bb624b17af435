#include "freeze/forked_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/disabled_steps.h"
#include "base/small_file.h"
#include "base/thread.h"
#include "freeze/fork_probe.h"
#include "memory/statm.h"

namespace stillframe {
namespace {

// A killed process ends much faster, unless the kernel cannot let go of it.
constexpr timespec kKillGrace{1, 0};
// On a busy machine a killed process has to wait for a processor, and the kernel takes time to free
// its memory. How often to look whether it still does, and how many times.
constexpr timespec kLook{0, 100'000'000};
constexpr int kMostLooks = 200;
// Stands for an unknown status. No process ends with it.
constexpr int kStatusUnknown = -1;

// musl has no sigabbrev_np().
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

// The state in the text of /proc/PID/stat: one letter after the name in parentheses, which may
// itself contain anything. 0 without a text.
char StateIn(const std::optional<std::string>& stat) {
  const size_t name_end = stat ? stat->rfind(')') : std::string::npos;
  return name_end != std::string::npos && name_end + 2 < stat->size() ? (*stat)[name_end + 2] : 0;
}

// Waits for the process behind the pidfd, and fills `info` with how it ended. Returns 0 or -errno.
int WaitFor(int pidfd, siginfo_t* info) {
  for (;;) {
    // __WALL, because a child without an exit signal counts as a clone, which a plain
    // wait does not see.
    const int error = sys::Waitid(P_PIDFD, pidfd, info, WEXITED | __WALL);
    if (error != -EINTR) return error;
  }
}

// Number of processes that the OOM killer has killed on this system so far.
std::optional<uint64_t> OomKills() {
  const auto vmstat = ReadSmallFile("/proc/vmstat");
  return vmstat ? NumberAfter(*vmstat, "oom_kill") : std::nullopt;
}

}  // namespace

ForkedProcess::~ForkedProcess() {
  if (pid_ == 0) return;
  Stop();
  (void)Collect();
}

Result<HardeningPlan> ForkedProcess::Prepare(ControlHeader* control, int target_fd) {
  control_ = control;
  if (const Feature fork = KnownFork(); !fork.available) {
    return Fail(FailureCode::kEngineUnavailable, fork.reason);
  }
  int fds[2] = {-1, -1};
  if (const int error = sys::Pipe2(fds, O_CLOEXEC); error < 0) {
    return SystemFailure("pipe2", -error, "cannot make the pipe that tells the child of our end");
  }
  alive_read_.Reset(fds[0]);
  alive_write_.Reset(fds[1]);
  return HardeningPlan{control, target_fd, alive_read_.get(), !StepDisabled("close_range")};
}

void ForkedProcess::Adopt(pid_t pid, int pidfd) {
  pid_ = pid;
  pidfd_.Reset(pidfd);
}

void ForkedProcess::Open(bool will_peek) {
  alive_read_.Reset();
  oom_kills_before_ = OomKills();
  const auto open_own = [&](const char* name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid_, name);
    return UniqueFd(sys::Open(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0));
  };
  smaps_rollup_ = open_own("smaps_rollup");
  if (!smaps_rollup_.valid()) {
    statm_ = open_own("statm");
    anonymous_before_ = AnonymousBytes().value_or(0);
  }
  if (will_peek) memory_ = open_own("mem");
}

void ForkedProcess::LetGo() {
  control_->parent_ready.store(1, std::memory_order_release);
  sys::Futex(&control_->parent_ready, FUTEX_WAKE, 1, nullptr);
}

std::optional<uint64_t> ForkedProcess::AnonymousBytes() const {
  const auto text = statm_.valid() ? ReadSmallFile(statm_.get()) : std::nullopt;
  const auto statm = text ? ParseStatm(text->data(), text->size()) : std::nullopt;
  return statm ? std::optional(statm->anonymous()) : std::nullopt;
}

bool ForkedProcess::HasMemory() const {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/statm", pid_);
  const auto pages = ReadSmallFile(path);
  return pages && strtoull(pages->c_str(), nullptr, 10) > 0;
}

Result<uint64_t> ForkedProcess::OwnBytes() const {
  const auto text = smaps_rollup_.valid() ? ReadSmallFile(smaps_rollup_.get()) : std::nullopt;
  const auto dirty = text ? NumberAfter(*text, "Private_Dirty:") : std::nullopt;
  const auto clean = text ? NumberAfter(*text, "Private_Clean:") : std::nullopt;
  if (!dirty || !clean) {
    return Fail(FailureCode::kIo, "cannot read the memory of the forked copy");
  }
  return (*dirty + *clean) * 1024;
}

Result<uint64_t> ForkedProcess::AllocatedBytes() const {
  if (smaps_rollup_.valid()) return OwnBytes();
  const auto now = AnonymousBytes();
  if (now) return *now - std::min(*now, anonymous_before_);
  return Fail(FailureCode::kIo, "cannot read the memory of the forked copy");
}

void ForkedProcess::Peek(const std::byte* address, uint64_t length, std::byte* out) const {
  const int64_t got = sys::Pread(memory_.get(), out, length, reinterpret_cast<uintptr_t>(address));
  const auto have = static_cast<uint64_t>(std::max<int64_t>(got, 0));
  memset(out + have, 0, length - have);
}

void ForkedProcess::Stop() {
  if (pid_ == 0 || stopped_) return;
  stopped_ = true;
  if (sys::PidfdSendSignal(pidfd_.get(), SIGKILL) < 0) {
    // A filter was installed after the probe. A process that has not ended still has its process
    // id.
    if (!HasEnded()) kill(pid_, SIGKILL);
  }
  for (int look = 0; look < kMostLooks; look++) {
    if (WaitForEnd(kLook) != 0 || !Runs()) return;
  }
}

bool ForkedProcess::HasEnded() const { return WaitForEnd(timespec{}) > 0; }

int ForkedProcess::Reap(siginfo_t* info) {
  const int error = WaitFor(pidfd_.get(), info);
  if (error == 0 || error == -ECHILD) return error;
  // A filter was installed after the probe. The child must not become a zombie because of that.
  int status = 0;
  pid_t reaped = 0;
  do {
    reaped = waitpid(pid_, &status, __WALL);
  } while (reaped < 0 && errno == EINTR);
  if (reaped < 0) return -errno;
  info->si_code = WIFEXITED(status) ? CLD_EXITED : CLD_KILLED;
  info->si_status = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
  return 0;
}

Failure ForkedProcess::HowItDied(int code, int status) {
  Failure failure = Fail(FailureCode::kChildDied, "");
  const std::string step = SaveStepName(control_->step.load(std::memory_order_relaxed));
  if (code == CLD_EXITED && status == kStatusUnknown) {
    failure.message =
        "the forked copy ended early while " + step +
        "; how is not known, since this process ignores SIGCHLD or waits for all of its children";
    return failure;
  }
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

bool ForkedProcess::Runs() const {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/task", pid_);
  DIR* tasks = opendir(path);
  if (tasks == nullptr) return false;
  bool runs = false;
  while (const dirent* task = readdir(tasks)) {
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid_, atoi(task->d_name));
    runs = runs || StateIn(ReadSmallFile(path)) == 'R';
  }
  closedir(tasks);
  return runs;
}

int ForkedProcess::WaitForEnd(const timespec& patience) const {
  pollfd watch{pidfd_.get(), POLLIN, 0};
  for (;;) {
    const int ready = sys::Ppoll(&watch, 1, &patience);
    if (ready != -EINTR) return ready;
  }
}

bool ForkedProcess::EndsInTime() {
  if (WaitForEnd(kKillGrace) != 0) return true;
  // The child is in uninterruptible sleep: a frozen filesystem, or a network disk without its
  // server. SIGKILL is pending.
  auto pidfd = std::make_shared<UniqueFd>(std::move(pidfd_));
  const Status reaping = Thread::StartDetached("stillframe-reap", [pidfd] {
    siginfo_t info{};
    WaitFor(pidfd->get(), &info);
    pidfd->Reset();
  });
  if (reaping.ok()) return false;
  pidfd_ = std::move(*pidfd);
  return true;
}

Status ForkedProcess::Collect() {
  if (pid_ == 0) return Success{};
  siginfo_t info{};
  if (stopped_ && !EndsInTime()) {
    pid_ = 0;
    return Fail(FailureCode::kStalled,
                "the forked copy waits for the disk inside the kernel and cannot be killed yet");
  }
  const int error = Reap(&info);
  pid_ = 0;
  if (error == -ECHILD) {
    // The host has taken the status of a child of fork(), by waiting for all children or by
    // ignoring SIGCHLD.
    info.si_code = CLD_EXITED;
    info.si_status = control_->step.load(std::memory_order_acquire) == SaveStep::kFinished
                         ? kChildComplete
                         : kStatusUnknown;
  } else if (error < 0) {
    return SystemFailure("waitid", -error, "cannot learn how the forked copy ended");
  }
  if (info.si_code == CLD_EXITED && info.si_status == kChildComplete) return Success{};
  if (const int saver_error = control_->error_number.load(std::memory_order_acquire)) {
    const bool writing = control_->error_step.load(std::memory_order_relaxed) == SaveStep::kWriting;
    Failure failure =
        SystemFailure(writing ? "pwrite" : "", saver_error,
                      std::string("failed while ") +
                          SaveStepName(control_->error_step.load(std::memory_order_relaxed)));
    return failure;
  }
  if (info.si_code == CLD_EXITED && info.si_status == kChildAborted) {
    return Fail(FailureCode::kAborted, "the capture was aborted");
  }
  return HowItDied(info.si_code, info.si_status);
}

}  // namespace stillframe
