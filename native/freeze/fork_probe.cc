#include "freeze/fork_probe.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <optional>

#include "base/mapping.h"
#include "base/scope_guard.h"
#include "base/sys.h"
#include "base/unique_fd.h"

namespace stillframe {
namespace {

constexpr size_t kMemoryBytes = size_t{64} << 10;

// Body of the probe. Runs until it is killed, is told to end, or a second has passed. All signals
// are blocked in it.
int BeProbe(void* argument) {
  sys::Prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  auto* told = static_cast<std::atomic<uint32_t>*>(argument);
  for (int tenth = 0; tenth < 10 && told->load(std::memory_order_acquire) == 0; tenth++) {
    const timespec nap{0, 100'000'000};
    sys::Futex(told, FUTEX_WAIT, 0, &nap);
  }
  return 0;
}

Feature Refused(const char* reason) { return {"fork", false, reason, false}; }

bool IsPassing(int error) { return error == -EAGAIN || error == -ENOMEM || error == -EMFILE; }

}  // namespace

Feature ProbeFork() {
  Result<Mapping> memory = Mapping::Anonymous(kMemoryBytes, MAP_SHARED, "a probe of fork");
  if (!memory.ok()) return {"fork", false, "out of memory", true};
  auto* told = new (memory.value().data()) std::atomic<uint32_t>(0);
  int pidfd = -1;
  uint64_t old_mask = 0;
  const uint64_t all = ~uint64_t{0};
  sys::Sigprocmask(SIG_SETMASK, &all, &old_mask);
  const int pid =
      sys::StartBareProcess(BeProbe, told, memory.value().data() + kMemoryBytes, &pidfd);
  sys::Sigprocmask(SIG_SETMASK, &old_mask, nullptr);
  if (pid < 0) {
    return {"fork", false,
            "the kernel refused to fork (limits on processes or memory, or a seccomp filter that "
            "does not allow clone)",
            IsPassing(pid)};
  }
  const UniqueFd owned(pidfd);
  const int sent = pidfd < 0 ? -EBADF : sys::PidfdSendSignal(pidfd, SIGKILL);
  if (sent < 0) {
    told->store(1, std::memory_order_release);
    sys::Futex(told, FUTEX_WAKE, 1, nullptr);
  }
  siginfo_t info{};
  int waited = -EBADF;
  if (pidfd >= 0) {
    do {
      waited = sys::Waitid(P_PIDFD, pidfd, &info, WEXITED | __WALL);
    } while (waited == -EINTR);
  }
  // The probe's memory must outlive the probe, and no zombie may remain.
  if (waited < 0) {
    while (waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
    }
  }
  if (pidfd < 0 || waited == -EINVAL) {
    return Refused("the kernel has no pidfds to wait for (Linux 5.4 or newer is needed)");
  }
  if (waited < 0) {
    return Refused(
        "a forked copy could not be waited for: a seccomp filter must allow waitid with P_PIDFD");
  }
  if (sent < 0 || info.si_code != CLD_KILLED) {
    return Refused(
        "a forked copy could not be ended: a seccomp filter must allow pidfd_send_signal");
  }
  return {"fork", true, "", false};
}

Feature KnownFork() {
  // Never destroyed, since a Worker may freeze while the process exits.
  static auto* lock = new std::mutex;
  static auto* known = new std::optional<Feature>;
  const std::lock_guard guard(*lock);
  if (known->has_value()) return **known;
  Feature found = ProbeFork();
  if (!found.passing) *known = found;
  return found;
}

}  // namespace stillframe
