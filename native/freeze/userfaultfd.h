// One userfaultfd. Memory registered with it can be write-protected in the page tables, which
// splits no mapping. UFFD_FEATURE_WP_UNPOPULATED covers pages that were never touched.
//
// With kThread, the kernel reports the first write to a protected page to a thread of ours. The
// kernel's own writes work, too, but this variant needs a privilege, a sysctl or /dev/userfaultfd.
// With kSignal, the writing thread gets a SIGBUS. Every process may use this variant, but the
// kernel's own writes to a protected page fail with EFAULT.
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

// Opens a userfaultfd without requesting a feature. With kThread, it also sees faults of the
// kernel. Returns -errno on failure.
int OpenUserfaultfd(FaultVariant variant);

class Userfaultfd {
 public:
  // Called for faults, on the thread that reads them.
  struct Answers {
    // The write goes on when the protection of its page is lifted.
    std::function<void(const void* address)> fault;
    // Faults can no longer be read, because of this errno. All protection must be dropped, since
    // writers would wait forever.
    std::function<void(int error_number)> unreadable;
  };

  Userfaultfd() = default;
  Userfaultfd(const Userfaultfd&) = delete;
  Userfaultfd& operator=(const Userfaultfd&) = delete;
  ~Userfaultfd() { End(); }

  // Tries to open one as a capture would.
  static Feature Probe(FaultVariant variant);

  Status Open(FaultVariant variant);
  // kBusy if another userfaultfd has the memory, kEngineUnavailable if userfaultfd cannot take it.
  Status Register(std::byte* start, size_t length);
  // Starts the thread that resolves faults. For kThread only.
  Status Answer(Answers answers);
  // Both are called from any thread and from fault handlers. They return 0 or -errno.
  int Protect(std::byte* start, size_t length);
  int Lift(std::byte* start, size_t length);  // returns 0 once all is dropped
  // Ends all protection at once and for good, in a way that the kernel cannot refuse, and wakes all
  // writers. Called from any thread and from fault handlers.
  void DropAll();
  bool dropped() const { return dropped_.load(std::memory_order_acquire); }
  // Unregisters all memory, which must still be mapped, and ends the thread. Idempotent. Must not
  // be called on that thread.
  void End();

 private:
  void AnswerFaults();
  void Unregister();

  struct Range {
    std::byte* start;
    size_t length;
  };
  UniqueFd faults_;
  // An eventfd that wakes the thread at the end, and takes the place of `faults_` when all
  // protection is dropped.
  UniqueFd end_;
  std::atomic<bool> dropped_{false};
  std::atomic<bool> ending_{false};
  std::vector<Range> registered_;
  Answers answers_;
  Thread thread_;
};

}  // namespace stillframe
