// The fork engine: the frozen pages are those of a copy of the process.
//
//   JS thread     block signals | DOFORK | clone3 | DONTFORK | unblock                 (the pause)
//   child                                       '--> RunChild: harden, save, release, _exit
//
// clone3 with a pidfd and no exit signal: the host sees no SIGCHLD, and no waitpid(-1) of anybody else can
// take the child's status. Regions are MADV_DONTFORK for life, and so are V8's WebAssembly memories: they
// are forkable only between the two flips, under one lock, so that concurrent captures of the same memory
// cannot undo each other's.
#pragma once

#include <sys/types.h>

#include <optional>
#include <vector>

#include "base/unique_fd.h"
#include "child/child.h"
#include "child/forked_pages.h"
#include "freeze/engine.h"

namespace stillframe {

class ForkEngine final : public Engine {
 public:
  ForkEngine();
  ~ForkEngine() override;

  Status Prepare(const FreezePlan& plan) override;
  Status Freeze() override;
  void Attach() override;
  int wait_fd() const override { return pidfd_.get(); }
  Result<CopyCost> Cost() override;
  void Stop() override;
  Status Collect() override;
  bool left_behind() const override { return left_behind_; }
  int pid() const override { return pid_; }

 private:
  Status MakeForkable();
  void MakeUnforkable(size_t count);
  bool MakeUnforkable(const FreezeSource& source);
  // Whether the killed child ends within the grace period. Otherwise it is left to a thread that reaps it.
  bool EndsInTime();
  Failure HowItDied(int code, int status);

  const FreezePlan* plan_ = nullptr;
  ForkedPages pages_;
  std::vector<ForkedSource> forked_sources_;
  std::vector<size_t> left_forkable_;  // sources whose advice could not be set back in the pause
  ChildPlan child_{};
  UniqueFd alive_read_;
  UniqueFd alive_write_;
  UniqueFd pidfd_;
  UniqueFd smaps_rollup_;  // the child's, opened while it was still readable for us
  pid_t pid_ = 0;
  bool stopped_ = false;      // we killed it
  bool left_behind_ = false;  // and it did not die
  uint64_t cost_peak_ = 0;
  std::optional<uint64_t> oom_kills_before_;
};

}  // namespace stillframe
