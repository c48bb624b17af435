// One userfaultfd: memory that is registered with it can be write-protected in the page tables, and
// no mapping is split by that. Never-touched pages are covered by UFFD_FEATURE_WP_UNPOPULATED.
//
// With kThread the kernel reports the first write to a protected page to a thread of ours: the
// kernel's own writes work, too, but it takes a privilege, a sysctl or /dev/userfaultfd. With
// kSignal the writing thread gets a SIGBUS: that is open to everybody, but the kernel's own writes
// into a protected page fail with EFAULT.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <vector>

#include "base/result.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "freeze/features.h"

namespace stillframe {

enum class FaultVariant : uint8_t { kThread, kSignal };

// A new one, without any feature asked for yet: of kThread it sees faults of the kernel, too. Or -errno.
int OpenUserfaultfd(FaultVariant variant);

class Userfaultfd {
 public:
  // What is to be done with faults, on their thread.
  struct Answers {
    // The write goes on when the protection of its page is lifted.
    std::function<void(const void* address)> fault;
    // Faults can no longer be read, for this errno: all protection has to be dropped, since writers
    // would wait for ever.
    std::function<void(int error_number)> unreadable;
  };

  Userfaultfd() = default;
  Userfaultfd(const Userfaultfd&) = delete;
  Userfaultfd& operator=(const Userfaultfd&) = delete;
  ~Userfaultfd() { End(); }

  // Tries it as a capture would.
  static Feature Probe(FaultVariant variant);

  Status Open(FaultVariant variant);
  // kBusy if another userfaultfd has the memory, kEngineUnavailable if none can have it.
  Status Register(std::byte* start, size_t length);
  // Starts the thread of kThread.
  Status Answer(Answers answers);
  // These two are called from any thread and from fault handlers. 0, or -errno.
  int Protect(std::byte* start, size_t length);
  int Lift(std::byte* start, size_t length);  // once all is dropped: 0
  // Ends all protection at once and for good, in a way that the kernel cannot refuse, and wakes all
  // writers. From any thread and from fault handlers.
  void DropAll();
  bool dropped() const { return dropped_.load(std::memory_order_acquire); }
  // Nothing is registered any more, and no answer is being given. Idempotent; not for the thread of
  // the answers. What was registered must still be mapped.
  void End();

 private:
  void AnswerFaults();
  void Unregister();

  struct Range {
    std::byte* start;
    size_t length;
  };
  UniqueFd faults_;
  // An eventfd that wakes the thread at the end, and takes the place of `faults_` when all is
  // dropped.
  UniqueFd end_;
  std::atomic<bool> dropped_{false};
  std::atomic<bool> ending_{false};
  std::vector<Range> registered_;
  Answers answers_;
  Thread thread_;
};

}  // namespace stillframe
