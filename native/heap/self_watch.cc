#include "heap/self_watch.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "base/sys.h"
#include "memory/statm.h"
#include "publish/stall_watch.h"

namespace stillframe {
namespace {

// Rare enough to cost nothing, and often enough that another copy is made at almost the same
// moment.
constexpr suseconds_t kLookUs = 100'000;

// Set before the first signal; afterwards used only by the handler.
struct {
  const HeapControl* control = nullptr;
  SelfLimits limits;
  int status = 0;
  uint64_t memory_at_first = 0;
  int64_t started_ns = 0;
  StallWatch stall{0};
} self;

[[noreturn]] void End(SelfEnd why) {
  self.control->counters()->self_end.store(why, std::memory_order_relaxed);
  sys::ExitGroup(self.status);
}

// Bytes of memory that no file backs; 0 if that cannot be read. Allocates nothing.
uint64_t AnonymousBytes() {
  const int fd = sys::Open(AT_FDCWD, "/proc/self/statm", O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  char text[128];
  const int64_t length = sys::Read(fd, text, sizeof text);
  sys::Close(fd);
  const auto statm = ParseStatm(text, static_cast<size_t>(std::max<int64_t>(length, 0)));
  return statm ? statm->anonymous() : 0;
}

struct SystemCall {
  uint64_t number;
  uint64_t operation;  // second argument
  uint64_t timeout;    // fourth argument
};

// A futex shared with other processes may still be woken. The futexes of locks are private.
bool IsEndlessWait(const SystemCall& call) {
  const auto command = call.operation & FUTEX_CMD_MASK;
  const bool waits = command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET;
  return call.number == SYS_futex && waits && (call.operation & FUTEX_PRIVATE_FLAG) != 0 &&
         call.timeout == 0;
}

// True if an endless wait continues when the handler returns. For a wait that restarts, the kernel
// has set the registers back to the instruction of the system call, with its number and arguments.
bool EndlessWaitRestarted(const ucontext_t* context, SystemCall* call) {
#if defined(__x86_64__)
  const greg_t* registers = context->uc_mcontext.gregs;
  *call = {static_cast<uint64_t>(registers[REG_RAX]), static_cast<uint64_t>(registers[REG_RSI]),
           static_cast<uint64_t>(registers[REG_R10])};
  const void* next = reinterpret_cast<const void*>(registers[REG_RIP]);
  const unsigned char instruction[] = {0x0f, 0x05};  // syscall
#elif defined(__aarch64__)
  const auto& machine = context->uc_mcontext;
  *call = {machine.regs[8], machine.regs[1], machine.regs[3]};
  const void* next = reinterpret_cast<const void*>(machine.pc);
  const unsigned char instruction[] = {0x01, 0x00, 0x00, 0xd4};  // svc #0
#else
#error "how is a system call begun again here?"
#endif
  // Code that V8 has generated may not be readable in a handler (protection keys), so the
  // instruction is read only if the registers look like a wait.
  return IsEndlessWait(*call) && memcmp(next, instruction, sizeof instruction) == 0;
}

void Look(int /*signal*/, siginfo_t* /*info*/, void* context) {
  SystemCall call{};
  if (EndlessWaitRestarted(static_cast<const ucontext_t*>(context), &call)) {
    End(SelfEnd::kWaitsForEver);
  }
  const SelfLimits& limits = self.limits;
  const int64_t now_ns = MonotonicNanoseconds();
  if (limits.timeout_ms > 0 && now_ns - self.started_ns > limits.timeout_ms * 1'000'000) {
    End(SelfEnd::kOutOfTime);
  }
  if (limits.stall_timeout_ms > 0 &&
      self.stall.IsStuck(PulseOf(*self.control->header(), CLOCK_PROCESS_CPUTIME_ID))) {
    End(SelfEnd::kStalled);
  }
  if (limits.memory_bytes > 0 && AnonymousBytes() > self.memory_at_first + limits.memory_bytes) {
    End(SelfEnd::kOutOfMemory);
  }
}

}  // namespace

void WatchOverSelf(const HeapControl& control, const SelfLimits& limits, int status) {
  self = {&control,
          limits,
          status,
          AnonymousBytes(),
          MonotonicNanoseconds(),
          StallWatch(limits.stall_timeout_ms, kLookUs * 1000)};
  struct sigaction action {};
  action.sa_sigaction = Look;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&action.sa_mask);
  sigaction(SIGALRM, &action, nullptr);
  // The copy blocks signals from outside.
  const uint64_t alarm = uint64_t{1} << (SIGALRM - 1);
  sys::Sigprocmask(SIG_UNBLOCK, &alarm, nullptr);
  const itimerval look{{0, kLookUs}, {0, kLookUs}};
  setitimer(ITIMER_REAL, &look, nullptr);
}

}  // namespace stillframe
