#include "freeze/fault_router.h"

#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/sys.h"

namespace stillframe {
namespace {

// Limit of captures by write protection at a time.
constexpr size_t kMaxArmed = 64;
// How many late faults at one address in a row are retried at once, and for how long they are
// retried after that, with a rest before each. Protection that is dropped as a whole ends only when
// the last kernel call under way for it has ended, and a saver with its low priority may be off its
// processor in the middle of such a call. A fault that comes later is a real one.
constexpr int kLateFaultsAtOnce = 64;
constexpr int64_t kLongestLateNs = 1'000'000'000;
constexpr timespec kBetweenLateFaults{0, 1'000'000};

// The last words of a process that could only hang. They go to stderr, since there is no other way
// to report anything from there.
constexpr char kRefusedForGood[] =
    "stillframe: the kernel refuses, again and again, to make memory writable that was "
    "write-protected for a capture; the "
    "write to it ends the process. Is the data of the process limited (RLIMIT_DATA), or mprotect "
    "forbidden?\n";

struct ArmedSlot {
  std::atomic<FrozenMemory*> memory{nullptr};
  std::atomic<uint32_t> readers{0};
  std::atomic<FaultSignal> signal{FaultSignal::kNone};
};
ArmedSlot slots[kMaxArmed];

// The ranges of captures that have ended, for faults that come late. This is a ring: an old range
// does no harm, since a real fault in it counts as late only so many times.
struct EndedRange {
  std::atomic<uintptr_t> start{0};
  std::atomic<uintptr_t> end{0};
};
EndedRange ended_ranges[kMaxArmed];
size_t next_ended = 0;
// Grows with each arming and disarming, so that late faults of different captures are
// counted separately.
std::atomic<uint32_t> generation{0};

struct Chain {
  int number = 0;
  bool installed = false;
  // The handler found at our first installation, and the handlers found at the most recent ones.
  // Our handler may still be reading the latest entry while the next is being written.
  struct sigaction first {};
  struct sigaction nexts[8]{};
  std::atomic<uint32_t> last{0};

  struct sigaction& next() {
    return nexts[last.load(std::memory_order_acquire) % 8];
  }
  void GoneInFrontOf(const struct sigaction& action) {
    const uint32_t number_of = last.load(std::memory_order_relaxed) + 1;
    nexts[number_of % 8] = action;
    last.store(number_of, std::memory_order_release);
  }
};
Chain segv_chain{SIGSEGV};
Chain bus_chain{SIGBUS};

std::mutex& RouterLock() {
  static auto* lock = new std::mutex;
  return *lock;
}

// glibc allocates a loaded library's thread-local memory at its first use, by a call into the
// loader, which a handler must not make. With this model, it does not. musl allocates it for all
// threads while it loads the library, and loads no library that uses this model.
#ifdef __GLIBC__
#define STILLFRAME_FOR_HANDLERS __attribute__((tls_model("initial-exec")))
#else
#define STILLFRAME_FOR_HANDLERS
#endif
STILLFRAME_FOR_HANDLERS thread_local int chaining = 0;
STILLFRAME_FOR_HANDLERS thread_local const void* late_address = nullptr;
STILLFRAME_FOR_HANDLERS thread_local int late_count = 0;
STILLFRAME_FOR_HANDLERS thread_local uint32_t late_generation = 0;
STILLFRAME_FOR_HANDLERS thread_local int64_t late_since_ns = 0;

// Calls each(memory) for the memory that is armed for this signal and contains the address; false
// if there is none.
template <typename Each>
bool WithArmed(const void* address, FaultSignal signal, Each each) {
  for (ArmedSlot& slot : slots) {
    if (slot.memory.load(std::memory_order_relaxed) == nullptr) continue;
    slot.readers.fetch_add(1, std::memory_order_seq_cst);
    FrozenMemory* memory = slot.memory.load(std::memory_order_seq_cst);
    const bool holds = memory != nullptr && slot.signal.load(std::memory_order_relaxed) == signal &&
                       memory->Contains(address);
    if (holds) each(memory);
    slot.readers.fetch_sub(1, std::memory_order_seq_cst);
    if (holds) return true;
  }
  return false;
}

// A fault at a writable page came late if it comes once, or a few times in a hot spot. A fault that
// keeps coming has another cause than a write: code that runs there, or a file that was truncated
// under its mapping.
bool BelievedLate(const void* address) {
  const uint32_t now = generation.load(std::memory_order_relaxed);
  late_count = address == late_address && now == late_generation ? late_count + 1 : 0;
  late_address = address;
  late_generation = now;
  if (late_count == 0) late_since_ns = sys::MonotonicNanoseconds();
  if (late_count < kLateFaultsAtOnce) return true;
  if (sys::MonotonicNanoseconds() - late_since_ns > kLongestLateNs) return false;
  nanosleep(&kBetweenLateFaults, nullptr);
  return true;
}

bool WasArmed(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  for (const EndedRange& range : ended_ranges) {
    if (range.start.load(std::memory_order_relaxed) <= at &&
        at < range.end.load(std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

void CallHandler(Chain& chain, struct sigaction& in_chain, int number, siginfo_t* info,
                 void* context) {
  const struct sigaction action = in_chain;
  if ((action.sa_flags & SA_RESETHAND) != 0) {
    // Called only once, as the kernel would do. Such a handler returns and relies on
    // the default action.
    in_chain.sa_handler = SIG_DFL;
    in_chain.sa_flags = 0;
  }
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(number, info, context);
    return;
  }
  if (action.sa_handler == SIG_IGN && info->si_code <= 0) return;  // sent by a process, and ignored
  if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN) {
    action.sa_handler(number);
    return;
  }
  // The default action in its own way: the faulting instruction runs again, or the signal is sent
  // again, and the kernel ends the process with its true cause. A fault cannot be ignored.
  struct sigaction default_action {};
  default_action.sa_handler = SIG_DFL;
  sigaction(chain.number, &default_action, nullptr);
  if (info->si_code <= 0) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), number);
}

void Forward(Chain& chain, int number, siginfo_t* info, void* context) {
  if (chaining > 0) {
    CallHandler(chain, chain.first, number, info, context);
    return;
  }
  chaining++;
  CallHandler(chain, chain.next(), number, info, context);
  chaining--;
}

void Handle(int number, siginfo_t* info, void* context) {
  const bool segv = number == SIGSEGV;
  Chain& chain = segv ? segv_chain : bus_chain;
  // SEGV_ACCERR means that the page exists and forbids the access. userfaultfd sends BUS_ADRERR.
  // Signals that a process has sent are not ours.
  const bool candidate = segv ? info->si_code == SEGV_ACCERR : info->si_code == BUS_ADRERR;
  if (candidate) {
    const void* address = info->si_addr;
    Resolved resolved = Resolved::kWritable;
    const bool armed =
        WithArmed(address, segv ? FaultSignal::kSegv : FaultSignal::kBus,
                  [&](FrozenMemory* memory) { resolved = memory->ResolveWrite(address); });
    if (resolved == Resolved::kCaptured) return;
    if (resolved == Resolved::kRefused) {
      sys::Write(STDERR_FILENO, kRefusedForGood, sizeof kRefusedForGood - 1);
    } else if ((armed || WasArmed(address)) && BelievedLate(address)) {
      return;
    }
  }
  Forward(chain, number, info, context);
}

bool InFront(const Chain& chain) {
  struct sigaction current {};
  sigaction(chain.number, nullptr, &current);
  return (current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == Handle;
}

Status GoInFront(Chain& chain) {
  if (InFront(chain)) return Success{};
  struct sigaction ours {};
  ours.sa_sigaction = Handle;
  // The handler runs on the alternate stack if a thread has one, as V8's own handler does. No other
  // signal of the host interrupts the capture of a page. The fault signals stay unblocked, so that
  // a thread in the handler does not look like a thread that blocks them.
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigfillset(&ours.sa_mask);
  sigdelset(&ours.sa_mask, SIGSEGV);
  sigdelset(&ours.sa_mask, SIGBUS);
  struct sigaction before {};
  if (sigaction(chain.number, nullptr, &before) != 0) {
    return SystemFailure("sigaction", errno, "cannot examine the handler of a fault signal");
  }
  // This must precede the installation, since our handler may run at once.
  chain.GoneInFrontOf(before);
  if (!chain.installed) chain.first = before;
  if (sigaction(chain.number, &ours, nullptr) != 0) {
    return SystemFailure("sigaction", errno, "cannot install the handler of write faults");
  }
  chain.installed = true;
  return Success{};
}

void DisarmLocked(FrozenMemory* memory) {
  for (ArmedSlot& slot : slots) {
    if (slot.memory.load(std::memory_order_relaxed) != memory) continue;
    // First the range for late faults, then the pointer for faults that are in time.
    EndedRange& ended = ended_ranges[next_ended++ % kMaxArmed];
    ended.start = 0;
    ended.end = memory->highest();
    ended.start = memory->lowest();
    generation.fetch_add(1, std::memory_order_relaxed);
    slot.memory.store(nullptr, std::memory_order_seq_cst);
    while (slot.readers.load(std::memory_order_seq_cst) > 0) sched_yield();
    return;
  }
}

// The memory that StayArmed() has been given. Accessed under the lock.
std::vector<std::unique_ptr<FrozenMemory>>& LeftArmed() {
  static auto* left = new std::vector<std::unique_ptr<FrozenMemory>>;
  return *left;
}

void LiftWhatWasLeft() {
  std::erase_if(LeftArmed(), [](const std::unique_ptr<FrozenMemory>& memory) {
    if (memory->LiftAll() != 0) return false;
    DisarmLocked(memory.get());
    return true;
  });
}

Chain& ChainOf(FaultSignal signal) { return signal == FaultSignal::kSegv ? segv_chain : bus_chain; }

}  // namespace

Status Arm(FrozenMemory* memory, FaultSignal signal) {
  const std::lock_guard lock(RouterLock());
  if (signal != FaultSignal::kNone) {
    Status in_front = GoInFront(ChainOf(signal));
    if (!in_front.ok()) return in_front;
  }
  LiftWhatWasLeft();
  for (const ArmedSlot& slot : slots) {
    const FrozenMemory* other = slot.memory.load(std::memory_order_relaxed);
    if (other == nullptr || !memory->Overlaps(*other)) continue;
    return Fail(FailureCode::kBusy, kAlreadyProtected);
  }
  for (ArmedSlot& slot : slots) {
    if (slot.memory.load(std::memory_order_relaxed) != nullptr) continue;
    slot.signal = signal;
    generation.fetch_add(1, std::memory_order_relaxed);
    slot.memory.store(memory, std::memory_order_seq_cst);
    return Success{};
  }
  return Fail(FailureCode::kBusy, "too many captures by write protection at once (" +
                                      std::to_string(kMaxArmed) + "); wait for one to end");
}

void Disarm(FrozenMemory* memory) {
  const std::lock_guard lock(RouterLock());
  DisarmLocked(memory);
}

void StayArmed(std::unique_ptr<FrozenMemory> memory) {
  const std::lock_guard lock(RouterLock());
  LeftArmed().push_back(std::move(memory));
}

Status StayInFront(FaultSignal signal) {
  const std::lock_guard lock(RouterLock());
  return GoInFront(ChainOf(signal));
}

void PrepareArmedForWrite(std::byte* start, uint64_t length) {
  for (ArmedSlot& slot : slots) {
    if (slot.memory.load(std::memory_order_relaxed) == nullptr) continue;
    slot.readers.fetch_add(1, std::memory_order_seq_cst);
    FrozenMemory* memory = slot.memory.load(std::memory_order_seq_cst);
    if (memory != nullptr) memory->PrepareWrite(start, length);
    slot.readers.fetch_sub(1, std::memory_order_seq_cst);
  }
}

}  // namespace stillframe
