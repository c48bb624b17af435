// The fork engine: the frozen pages are those of a forked copy of the process.
//
//   JS thread     block signals | DOFORK | clone3 | DONTFORK | unblock                 (the pause)
//   child                                       '--> RunChild: harden, save, release, _exit
//
// clone3 gets a pidfd and no exit signal, so the host sees no SIGCHLD, and no foreign waitpid(-1)
// can take the child's status. Regions are MADV_DONTFORK for life, and so are V8's WebAssembly
// memories: they are forkable only between the two flips. One lock covers both flips, so that
// concurrent captures of the same memory cannot undo each other's.
#pragma once

#include <vector>

#include "child/child.h"
#include "child/forked_pages.h"
#include "freeze/engine.h"
#include "freeze/forked_process.h"

namespace stillframe {

class ForkEngine final : public Engine {
 public:
  ForkEngine();
  ~ForkEngine() override;

  Status Prepare(const FreezePlan& plan) override;
  Status Freeze() override;
  Status Attach() override;
  int wait_fd() const override { return process_.wait_fd(); }
  Result<CopyCost> Cost() override;
  void Peek(uint32_t source, uint64_t offset, uint64_t length, std::byte* out) override;
  void Stop() override { process_.Stop(); }
  Status Collect() override { return process_.Collect(); }
  int pid() const override { return process_.pid(); }

 private:
  // Avoids extra threads and measurements where the cgroup may run out before the limit is noticed.
  void LeaveTheCopyAlone();
  Status MakeForkable();
  void MakeUnforkable(size_t count);
  bool MakeUnforkable(const FreezeSource& source);
  // Checks, while the copy waits, that it has what the sources hold.
  Status CheckCarriedOver() const;
  const FreezePlan* plan_ = nullptr;
  ForkedPages pages_;
  std::vector<ForkedSource> forked_sources_;
  std::vector<size_t> left_forkable_;  // sources whose MADV_DONTFORK failed in the pause
  ChildPlan child_{};
  ForkedProcess process_;
  uint64_t cost_peak_ = 0;
  bool measures_ = true;  // false if the kernel would end the copy before it reaches the limit
};

}  // namespace stillframe
