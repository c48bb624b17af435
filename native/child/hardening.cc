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

// Signals that a process raises by its own faults, and those by which the kernel informs it about
// its children. All others are meant for the service, and reach its forked copy only because the
// two look alike from outside.
constexpr int kOwnSignals[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGSYS, SIGCHLD};

uint64_t SignalsOfTheService() {
  uint64_t mask = ~uint64_t{0};
  for (const int signal : kOwnSignals) mask &= ~(uint64_t{1} << (signal - 1));
  return mask;
}

// The host's signal handlers must not run here: they would find its state, but none of its threads.
// A closed pipe or a file size limit must be reported as an error of the call and not kill the
// child.
void ResetSignals() {
  for (int signal = 1; signal <= kSignalCount; signal++) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    const bool ignored = signal == SIGPIPE || signal == SIGXFSZ;
    sys::SetDisposition(signal, ignored ? kIgnore : kDefault);
  }
  // Ctrl-C, the SIGTERM that systemd sends to a whole control group, and the one that a process
  // supervisor sends to a whole process tree must not end the copy. A service that handles such a
  // signal may want to finish the capture; if it does not handle it, the copy ends with the service
  // anyway.
  const uint64_t blocked = SignalsOfTheService();
  sys::Sigprocmask(SIG_SETMASK, &blocked, nullptr);
  // SIGSTOP and SIGKILL cannot be blocked, hence a process group of its own. It is not a session of
  // its own because with autogroups the child's niceness would then count only within that session,
  // and not against the service. If a filter refuses the call, the mask has to suffice.
  sys::LeaveProcessGroup();
}

bool ParentGone(const HardeningPlan& plan) {
  pollfd watch{plan.alive_fd, POLLIN, 0};
  const timespec now{};
  // Nothing is ever written to the pipe, so any event on it is its end.
  return sys::Ppoll(&watch, 1, &now) > 0;
}

// The parent must open smaps_rollup of this process before the process stops being dumpable. After
// that only root can.
void WaitUntilParentReady(const HardeningPlan& plan) {
  ControlHeader* control = plan.control;
  const timespec patience{0, 100'000'000};
  while (control->parent_ready.load(std::memory_order_acquire) == 0 &&
         control->abort_requested.load(std::memory_order_relaxed) == 0 && !ParentGone(plan)) {
    sys::Futex(&control->parent_ready, FUTEX_WAIT, 0, &patience);
  }
}

// Makes this process the first victim when memory runs short. Raising one's own score needs no
// privilege.
void BecomeOomVictim() {
  const int fd = sys::Open(AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) return;
  sys::Write(fd, "1000", 4);
  sys::Close(fd);
}

// When the host closes a descriptor, it must not stay open here: the peer waits for the end of the
// connection.
void CloseAllBut(const HardeningPlan& plan) {
  const bool use_close_range = plan.use_close_range;
  const auto close_span = [&](unsigned first, unsigned last) {
    if (first > last) return;
    if (use_close_range && sys::CloseRange(first, last, 0) == 0) return;
    // For kernels before Linux 5.9 and filters that forbid close_range. No process has descriptors
    // above the limit of that time.
    constexpr unsigned kHighest = 1 << 20;
    for (unsigned fd = first; fd <= last && fd < kHighest; fd++) sys::Close(static_cast<int>(fd));
  };
  unsigned next = 0;  // the first descriptor that has not been decided on
  for (;;) {
    unsigned kept = ~0U;  // the lowest descriptor to keep from there on
    for (const int fd : {plan.target_fd, plan.alive_fd, plan.directory_fd}) {
      const auto candidate = static_cast<unsigned>(fd);  // -1 becomes the largest value
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
  // 1. Signals come first. From here on no code of the host runs in this process, and no signal
  //    that is meant for the host ends it.
  control->step.store(SaveStep::kSignals, std::memory_order_relaxed);
  ResetSignals();

  // 2. Arrange to end with the parent. The signal is sent when the thread that forked ends, and
  //    reaches a stopped or blocked child too; the pipe ends with the process.
  if (!plan.outlives_parent) sys::Prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (Abandoned(plan)) sys::ExitGroup(kChildParentGone);

  // 3. Stay out of the host's way: first its memory, then its descriptors, then its secrets.
  control->step.store(SaveStep::kHardening, std::memory_order_relaxed);
  BecomeOomVictim();
  CloseAllBut(plan);
  // This has to come before PR_SET_DUMPABLE: a process that is not dumpable may not read its own
  // page map, unless it runs as root.
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
