#include "child/hardening.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <signal.h>
#include <time.h>

#include <cerrno>

#include "base/sys.h"

namespace stillframe {
namespace {

constexpr uint64_t kDefault = 0;  // SIG_DFL
constexpr uint64_t kIgnore = 1;   // SIG_IGN
constexpr int kSignalCount = 64;

// Signals that a process brings on itself, and those by which the kernel tells it about its own
// children. All others are meant for the service, and reach its forked copy only because both look
// alike from outside.
constexpr int kOwnSignals[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGCHLD};

uint64_t SignalsOfTheService() {
  uint64_t mask = ~uint64_t{0};
  for (const int signal : kOwnSignals) mask &= ~(uint64_t{1} << (signal - 1));
  return mask;
}

// The host's handlers must not run here: they would find its state, but none of its threads. A
// closed pipe or a file size limit must come back as an error of the call, not as a death.
void ResetSignals() {
  for (int signal = 1; signal <= kSignalCount; signal++) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    const bool ignored = signal == SIGPIPE || signal == SIGXFSZ;
    sys::SetDisposition(signal, ignored ? kIgnore : kDefault);
  }
  // Ctrl-C, systemd's SIGTERM to a whole control group, and a supervisor's to a whole tree of
  // processes must not end the copy: a service that handles them may want to finish the capture,
  // and with a service that does not the copy ends anyway.
  const uint64_t blocked = SignalsOfTheService();
  sys::Sigprocmask(SIG_SETMASK, &blocked, nullptr);
  // SIGSTOP and SIGKILL cannot be blocked. It is not a session of its own, since with autogroups
  // its niceness would then count only within that session, and not against the service. Where a
  // filter refuses the call, the mask has to suffice.
  sys::LeaveProcessGroup();
}

bool ParentGone(const HardeningPlan& plan) {
  pollfd watch{plan.alive_fd, POLLIN, 0};
  const timespec now{};
  // Nobody ever writes to the pipe: any event on it is its end.
  return sys::Ppoll(&watch, 1, &now) > 0;
}

// The parent must open this process's smaps_rollup while it may: once the process is not dumpable,
// only root can.
void WaitUntilParentReady(const HardeningPlan& plan) {
  ControlHeader* control = plan.control;
  const timespec patience{0, 100'000'000};
  while (control->parent_ready.load(std::memory_order_acquire) == 0 &&
         control->abort_requested.load(std::memory_order_relaxed) == 0 && !ParentGone(plan)) {
    sys::Futex(&control->parent_ready, FUTEX_WAIT, 0, &patience);
  }
}

// It is the first to go when memory runs short. Raising one's own score needs no privilege.
void BecomeOomVictim() {
  const int fd = sys::Open(AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return;
  sys::Write(fd, "1000", 4);
  sys::Close(fd);
}

// A descriptor that the host closes must be closed here too: its peer waits for the end of the
// connection.
void CloseAllBut(const HardeningPlan& plan) {
  const bool use_close_range = plan.use_close_range;
  const auto close_span = [&](unsigned first, unsigned last) {
    if (first > last) return;
    if (use_close_range && sys::CloseRange(first, last, 0) == 0) return;
    // Before Linux 5.9, or where a filter forbids close_range. No process has descriptors beyond
    // the limit of that time.
    constexpr unsigned kHighest = 1 << 20;
    for (unsigned fd = first; fd <= last && fd < kHighest; fd++) sys::Close(static_cast<int>(fd));
  };
  unsigned next = 0;  // the first that has not been decided on
  for (;;) {
    unsigned kept = ~0U;  // the lowest from there on
    for (const int fd : {plan.target_fd, plan.alive_fd, plan.directory_fd}) {
      const auto candidate = static_cast<unsigned>(fd);  // none is larger than any
      if (candidate >= next && candidate < kept) kept = candidate;
    }
    if (kept == ~0U) break;
    if (kept > next) close_span(next, kept - 1);
    next = kept + 1;
  }
  close_span(next, ~0U);
}

}  // namespace

bool Abandoned(const HardeningPlan& plan) { return !plan.outlives_parent && ParentGone(plan); }

void HardenChild(const HardeningPlan& plan) {
  ControlHeader* control = plan.control;
  // 1. Signals come first, so that from here on nothing of the host runs in this process, and
  //    nothing that is meant for the host ends it.
  control->step.store(SaveStep::kSignals, std::memory_order_relaxed);
  ResetSignals();

  // 2. Arrange to end with the parent. The signal follows the thread that forked, and reaches a
  //    stopped or blocked child too; the pipe follows the process.
  if (!plan.outlives_parent) sys::Prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (Abandoned(plan)) sys::ExitGroup(kChildParentGone);

  // 3. Get out of the host's way: its memory first, then its secrets, then its descriptors.
  control->step.store(SaveStep::kHardening, std::memory_order_relaxed);
  BecomeOomVictim();
  CloseAllBut(plan);
  // Not later: a process that is not dumpable may not look at itself, unless it is root's.
  if (plan.pagemap_fd != nullptr) {
    *plan.pagemap_fd = sys::Open(AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
  }
  control->step.store(SaveStep::kWaitForParent, std::memory_order_relaxed);
  WaitUntilParentReady(plan);
  control->step.store(SaveStep::kHardening, std::memory_order_relaxed);
  sys::Prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  sys::Prctl(PR_SET_NAME, reinterpret_cast<uint64_t>("stillframe"), 0, 0, 0);
}

}  // namespace stillframe
