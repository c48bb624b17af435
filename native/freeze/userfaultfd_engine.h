// The userfaultfd engine write-protects pages in the page tables, which splits no mapping. The
// first write to a page is resolved by a thread of ours or by the SIGBUS handler on the writing
// thread. The handler is faster, most of all in the worst case.
//
// A region is registered for the capture only. Regions whose writes are recorded between captures
// have an engine of their own, the TrackingEngine.
#pragma once

#include "freeze/in_process_engine.h"
#include "freeze/userfaultfd.h"

namespace stillframe {

class UserfaultfdEngine final : public InProcessEngine, private WriteProtection {
 public:
  explicit UserfaultfdEngine(FaultVariant variant)
      : InProcessEngine(variant == FaultVariant::kSignal ? FaultSignal::kBus : FaultSignal::kNone),
        variant_(variant) {}
  ~UserfaultfdEngine() override { Shutdown(); }

 private:
  // Never outlives the engine, since DropAll cannot be refused.
  std::shared_ptr<WriteProtection> protection() override { return {std::shared_ptr<void>(), this}; }
  Status PrepareProtection(const FreezePlan& plan) override;
  Status AnswerFaults() override;
  void EndProtection() override { userfaultfd_.End(); }
  const char* CallName() const override { return "ioctl"; }
  int Protect(std::byte* start, size_t length) override {
    return userfaultfd_.Protect(start, length);
  }
  int Lift(std::byte* start, size_t length) override { return userfaultfd_.Lift(start, length); }
  size_t PieceBytes(uint64_t isolated_pieces) override;
  bool CanDropAll() const override { return true; }
  void DropAll() override { userfaultfd_.DropAll(); }

  const FaultVariant variant_;
  Userfaultfd userfaultfd_;
};

}  // namespace stillframe
