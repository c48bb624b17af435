// A job that runs JavaScript in one forked copy of the process, from the call to the published
// file.
//
//   JS thread    Start: open the target | block signals, park V8's workers, make V8's memory forkable | fork | undo
//   child                                  harden itself, run in_child, flush, _exit          <--'
//   supervisor                             Look: memory | collect | on_end
//
// capture/supervisor.h has what this job shares with a capture: its threads and the way it ends. A
// failure before or in the fork is returned by Start(), with everything undone; everything after
// the fork ends in exactly one call of on_end, on the supervisor's thread.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "capture/job_limits.h"
#include "capture/supervisor.h"
#include "freeze/forked_process.h"
#include "heap/control.h"
#include "heap/output.h"
#include "heap/unforkable.h"
#include "image/pacing.h"
#include "memory/mapping_list.h"

namespace v8 {
class Platform;
}

namespace stillframe {

struct ForkPlan {
  v8::Platform* platform = nullptr;
  TargetPlan target;
  Pacing pacing;  // of the copy
  JobLimits limits;
  // How long Park() may wait for V8's workers. Idle workers are parked in a fraction of a
  // millisecond; on a busy machine it takes a few more until each of them gets a processor. A
  // worker that is marking or compiling may take a second: a call does not wait that long.
  std::chrono::milliseconds park_patience{5};
  // If set, the copy writes to this end of a pipe instead of a file. The reader sees the end of the
  // stream when both the copy and the job have ended.
  std::shared_ptr<UniqueFd> pipe;
  // The copy publishes its file itself, and continues when the service ends.
  bool outlives_service = false;
  // Runs in the service before the fork, once V8's workers are parked. May be empty.
  std::function<void()> before_fork;
  // Runs in the copy, in the middle of Start(). `left_out` is the memory of Regions, which the copy
  // does not have: it may be larger than everything else together, and captures exist to save it.
  // `v8_memory` is V8's memory, which was made forkable for this fork.
  std::function<void(Output*, const std::vector<AddressRange>& left_out,
                     const std::vector<AddressRange>& v8_memory)>
      in_child;
  // Runs in a copy that outlives the service, after its file is published. May be empty.
  std::function<void()> after_publishing;
};

// The parts of the pause, in milliseconds.
struct FreezeTimes {
  double park = 0;
  double ids = 0;
  double mappings = 0;
  double flip = 0;
  double fork = 0;
  double restore = 0;
};

struct ForkOutcome {
  uint64_t file_length = 0;
  uint64_t allocated_bytes = 0;   // disk space that the file takes
  double duration_ms = 0;         // from the freeze to the published file
  uint64_t child_bytes_peak = 0;  // peak of the copy's own memory, as sampled
};

struct ForkProgress {
  uint64_t bytes_written;
  uint64_t steps_done;
  uint64_t steps_total;
  uint64_t child_bytes;
};

// How a job ended, as far as the decision on another attempt needs to know it and the failure does
// not tell.
enum class JobEnd : uint8_t {
  kOther,
  kHeldLock,   // the copy waited for a lock of a thread that it does not have
  kOutOfTime,  // timeout_ms; or the disk stopped answering after everything was written
};

class ForkJob final : private Supervised {
 public:
  using OnEnd = std::function<void(Result<ForkOutcome>, JobEnd)>;

  static Result<std::unique_ptr<ForkJob>> Start(ForkPlan plan, OnEnd on_end);
  // Aborts the job and waits for its end.
  ~ForkJob();

  void Abort() { supervisor_.Abort(); }  // on any thread, at any time
  ForkProgress Progress() const;         // on any thread
  const HeapControl& control() const { return *control_; }
  const FreezeTimes& times() const { return times_; }
  int64_t frozen_at_ns() const { return supervisor_.frozen_at_ns(); }
  int pid() const { return pid_; }

 private:
  ForkJob(ForkPlan plan, OnEnd on_end) : plan_(std::move(plan)), on_end_(std::move(on_end)) {}

  Status Prepare();
  Status Freeze();
  [[noreturn]] void BeChild(const std::vector<AddressRange>& v8_memory);
  void MoveBeyondStreams();
  void PublishInCopy();
  void NotFrozen() override { MendUnforkable(); }
  Status Attach() override;
  int wait_fd() const override { return process_.wait_fd(); }
  uint64_t Pulse() const override;
  Status Look() override;
  Status Saved(Status so_far) override;
  DiskWork::LastSteps LastSteps() override;
  void Ended(Status ended) override;
  Failure TookTooMuch(uint64_t bytes) const;
  Failure ExplainEnd(Failure failure);

  ForkPlan plan_;
  OnEnd on_end_;
  std::unique_ptr<HeapControl> control_;
  HardeningPlan hardening_{};
  ForkedProcess process_;
  std::vector<AddressRange> left_out_;  // in ascending order
  std::vector<AddressRange> left_forkable_;
  FreezeTimes times_;
  JobEnd end_ = JobEnd::kOther;
  int pid_ = 0;
  std::atomic<uint64_t> child_bytes_{0};
  uint64_t memory_limit_ = 0;  // bytes
  // Used by the supervisor only.
  uint64_t child_bytes_peak_ = 0;
  int64_t next_look_ns_ = 0;
  // Shared: work that the disk holds up for longer than we wait outlives this job.
  std::shared_ptr<uint64_t> allocated_bytes_ = std::make_shared<uint64_t>(0);
  Supervisor supervisor_;  // last: its thread uses all other members
};

}  // namespace stillframe
