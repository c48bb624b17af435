// The userfaultfd engine for regions whose writes are recorded between captures. Each region has
// its own userfaultfd, with a thread that resolves faults (freeze/tracked_region.h). During a
// capture, the thread passes them on to the frozen memory. A region without a userfaultfd gets one,
// which stays if the frame is complete and was asked to keep the record.
#pragma once

#include "freeze/frame_record.h"
#include "freeze/in_process_engine.h"
#include "freeze/tracked_region.h"

namespace stillframe {

class TrackingEngine final : public InProcessEngine, private WriteProtection {
 public:
  TrackingEngine() : InProcessEngine(FaultSignal::kNone) {}
  ~TrackingEngine() override { Shutdown(); }

  std::shared_ptr<FrameRecord> TakeRecord() override { return std::move(record_); }

 private:
  struct Part {
    const FreezeSource* source;
    std::shared_ptr<TrackedRegion> tracked;
    std::vector<uint8_t> unchanged;  // by unit, since the parent; empty: unknown
  };

  // Never outlives the engine, since DropAll cannot be refused.
  std::shared_ptr<WriteProtection> protection() override { return {std::shared_ptr<void>(), this}; }
  Status PrepareProtection(const FreezePlan& plan) override;
  void EndProtection() override;
  const char* CallName() const override { return "ioctl"; }
  void BeginFreeze() override;
  int Protect(std::byte* start, size_t length) override;
  int Lift(std::byte* start, size_t length) override;
  int Release(std::byte* start, size_t length) override;
  size_t UnitBytes() const override { return TrackedRegion::kUnitBytes; }
  bool Unchanged(const std::byte* unit) const override;
  size_t PieceBytes(uint64_t isolated_pieces) override;
  bool CanDropAll() const override { return true; }
  void DropAll() override;
  // The part that contains the address: the last one that begins at or before it.
  Part& PartOf(const std::byte* address);
  const Part& PartOf(const std::byte* address) const;

  const FreezePlan* plan_ = nullptr;
  bool began_ = false;
  std::vector<Part> parts_;  // in ascending order of address
  std::shared_ptr<FrameRecord> record_;
};

}  // namespace stillframe
