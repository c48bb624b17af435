// The mprotect engine makes pages read-only, and the SIGSEGV handler on the writing thread keeps
// their bytes. It needs no privilege and no userfaultfd, but the kernel's own writes to a protected
// page fail with EFAULT.
//
// Each isolated page that becomes writable splits a mapping in three, and a process may have
// no more than vm.max_map_count mappings. So a fault captures larger pieces as fewer
// mappings are left.
//
// RLIMIT_DATA counts writable memory, but not read-only memory. Whatever a service allocates while
// its regions are protected takes their room, and the kernel then refuses to lift the protection,
// for good. So the engine is unavailable under such a limit.
#pragma once

#include "freeze/features.h"
#include "freeze/in_process_engine.h"

namespace stillframe {

class MprotectProtection final : public WriteProtection {
 public:
  const char* CallName() const override { return "mprotect"; }
  int Protect(std::byte* start, size_t length) override;
  int Lift(std::byte* start, size_t length) override;
  size_t PieceBytes(uint64_t isolated_pieces) override;
  // Counts how many mappings may be made. Called after the freeze.
  void CountMappings();

 private:
  // Number of mappings that may be made in addition to those at the freeze. They are counted after
  // the freeze, because counting takes time in proportion to their number; until then few are used.
  static constexpr uint64_t kUntilCounted = 2048;
  std::atomic<uint64_t> mapping_budget_{kUntilCounted};
};

class MprotectEngine final : public InProcessEngine {
 public:
  MprotectEngine() : InProcessEngine(FaultSignal::kSegv) {}
  ~MprotectEngine() override { Shutdown(); }

  // Available if protection can be lifted again, whatever the service does meanwhile.
  static Feature Probe();

 private:
  std::shared_ptr<WriteProtection> protection() override { return protection_; }
  Status PrepareProtection(const FreezePlan& plan) override;
  void OnFrozen() override { protection_->CountMappings(); }
  void EndProtection() override {}

  const std::shared_ptr<MprotectProtection> protection_ = std::make_shared<MprotectProtection>();
};

}  // namespace stillframe
