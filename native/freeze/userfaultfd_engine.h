// The userfaultfd engine: pages are write-protected in the page tables, and no mapping is split.
// The first write to a page is answered in one of two ways. With kThread the kernel reports the
// fault to a thread of ours: the kernel's own writes work, too, but it takes a privilege, a sysctl
// or /dev/userfaultfd. With kSignal the SIGBUS handler on the writing thread answers: that is
// faster, most of all in the worst case, and open to everybody, but the kernel's own writes into a
// protected page fail with EFAULT.
//
// A region is registered for the capture only. Never-touched pages are covered by
// UFFD_FEATURE_WP_UNPOPULATED.
#pragma once

#include "freeze/features.h"
#include "freeze/in_process_engine.h"

namespace stillframe {

enum class FaultVariant : uint8_t { kThread, kSignal };

class UserfaultfdEngine final : public InProcessEngine, private WriteProtection {
 public:
  explicit UserfaultfdEngine(FaultVariant variant)
      : InProcessEngine(variant == FaultVariant::kSignal ? FaultSignal::kBus : FaultSignal::kNone),
        variant_(variant) {}
  ~UserfaultfdEngine() override { Shutdown(); }

  // Tries it as a capture would.
  static Feature Probe(FaultVariant variant);

 private:
  // It never outlives the engine, since DropAll cannot be refused.
  std::shared_ptr<WriteProtection> protection() override { return {std::shared_ptr<void>(), this}; }
  Status PrepareProtection(const FreezePlan& plan) override;
  void EndProtection() override;
  const char* CallName() const override { return "ioctl"; }
  int Protect(std::byte* start, size_t length) override;
  int Lift(std::byte* start, size_t length) override;
  size_t PieceBytes(uint64_t isolated_pieces) override;
  bool CanDropAll() const override { return true; }
  void DropAll() override;
  void AnswerFaults();

  const FaultVariant variant_;
  UniqueFd faults_;
  UniqueFd
      end_;  // eventfd: wakes the fault thread at the end, and takes the place of `faults_` when all is dropped
  std::atomic<bool> dropped_{false};
  std::atomic<bool> ending_{false};
  std::vector<FreezeSource> registered_;
  Thread fault_thread_;
};

}  // namespace stillframe
