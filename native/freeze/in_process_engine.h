// The common part of the engines that save from inside this process: frozen memory, the saver
// threads, and the end of both. A subclass adds the write protection and the delivery of faults.
#pragma once

#include <memory>

#include "base/thread.h"
#include "base/unique_fd.h"
#include "freeze/engine.h"
#include "freeze/fault_router.h"
#include "freeze/frozen_memory.h"

namespace stillframe {

class InProcessEngine : public Engine {
 public:
  Status Prepare(const FreezePlan& plan) final;
  Status Freeze() final;
  Status Attach() final;
  int wait_fd() const final { return ended_.get(); }
  Result<CopyCost> Cost() final;
  void Peek(uint32_t source, uint64_t offset, uint64_t length, std::byte* out) final {
    frozen_->Peek(source, offset, length, out);
  }
  void Stop() final;
  Status Check() final;
  Status Collect() final;
  bool keeps_limit() const final { return true; }
  int pid() const final { return 0; }

 protected:
  explicit InProcessEngine(FaultSignal signal) : signal_(signal) {}
  // Called by the destructor of each subclass: threads and protection must end
  // before what they use.
  void Shutdown();

  // May outlive the engine, with memory that could not be lifted.
  virtual std::shared_ptr<WriteProtection> protection() = 0;
  // Makes the ranges protectable. Called before the freeze.
  virtual Status PrepareProtection(const FreezePlan& plan) = 0;
  // Starts the thread that resolves faults, unless the writing thread does so itself. Called right
  // after the freeze; threads that have written in between wait.
  virtual Status AnswerFaults() { return Success{}; }
  // Called on the first saver's thread, before it begins.
  virtual void OnFrozen() {}
  // Called when nothing is protected any more and no more faults will arrive.
  virtual void EndProtection() = 0;

  FrozenMemory* frozen() { return frozen_.get(); }

 private:
  void Save();
  int LiftForGood();  // 0, or an errno

  const FaultSignal signal_;
  const FreezePlan* plan_ = nullptr;
  SavePlan save_{};
  std::unique_ptr<FrozenMemory> frozen_;
  UniqueFd ended_;  // eventfd
  SaveEnd end_ = SaveEnd::kAborted;
  bool armed_ = false;
  bool stopped_ = false;
  Thread saver_;
};

}  // namespace stillframe
