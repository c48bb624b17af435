// One forked copy of the process that goes on running JavaScript, from the call to the published
// file.
//
//   JS thread    Start: open the target | block signals, park V8's workers, let V8's memory be forked | fork | undo
//   child                                  harden itself, run what it is for, flush, _exit    <--'
//   supervisor                             watch: stall, time, memory, abort | collect | end of the disk's work | on_end
//   disk thread                            sweep stale files | publish
//
// A failure up to the fork is one of Start(), with nothing done; everything after it ends in
// exactly one call of on_end, on the supervisor's thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/thread.h"
#include "base/unique_fd.h"
#include "capture/disk_work.h"
#include "freeze/forked_process.h"
#include "heap/control.h"
#include "heap/output.h"
#include "memory/mapping_list.h"

namespace v8 {
class Platform;
}

namespace stillframe {

struct HeapRequest {
  v8::Platform* platform = nullptr;
  std::string path;  // absolute
  TargetOptions target;
  uint64_t memory_limit = 0;     // bytes of the copy's own; 0: half of what is available
  int64_t stall_timeout_ms = 0;  // without progress
  int64_t timeout_ms = 0;        // in all; 0: none
  int nice = 0;
  std::vector<AddressRange> keep_out;  // in ascending order: memory that the copy does without
  // Runs in the service before the fork, once V8's workers are parked; may be empty.
  std::function<void()> before_fork;
  // Runs in the copy, in the middle of Start().
  std::function<void(Output*)> in_child;
};

// Milliseconds of the pause, part by part.
struct FreezeTimes {
  double park = 0;
  double ids = 0;
  double mappings = 0;
  double flip = 0;
  double fork = 0;
  double restore = 0;
};

struct HeapOutcome {
  uint64_t file_length = 0;
  uint64_t allocated_bytes = 0;   // that the file takes on the disk
  double duration_ms = 0;         // from the freeze to the published file
  uint64_t child_bytes_peak = 0;  // most memory of the copy's own, as far as it was looked at
};

struct HeapProgress {
  uint64_t bytes_written;
  uint64_t steps_done;
  uint64_t steps_total;
  uint64_t child_bytes;
};

// What the failure does not tell about an end, but the decision on another attempt needs.
enum class JobEnd : uint8_t {
  kOther,
  kHeldLock,   // the copy waited for a lock of a thread that it does not have
  kOutOfTime,  // timeout_ms; or the disk stopped answering when all was written
};

class HeapJob {
 public:
  using OnEnd = std::function<void(Result<HeapOutcome>)>;

  static Result<std::unique_ptr<HeapJob>> Start(HeapRequest request, OnEnd on_end);
  // Aborts and waits for the end.
  ~HeapJob();

  void Abort();                   // any thread, any time
  HeapProgress Progress() const;  // any thread
  const HeapControl& control() const { return *control_; }
  const FreezeTimes& times() const { return times_; }
  int64_t frozen_at_ns() const { return frozen_at_ns_; }
  int pid() const { return pid_; }
  JobEnd end() const { return end_; }  // once the end has been told

 private:
  HeapJob(HeapRequest request, OnEnd on_end)
      : request_(std::move(request)), on_end_(std::move(on_end)) {}

  Status Prepare();
  Status Freeze();
  [[noreturn]] void BeChild();
  void Supervise();
  Result<HeapOutcome> Run();
  Status Watch();
  // Why the job has to end: it was asked to, or time ran out.
  Status WhyEnd(const char* step);
  Status WhyStop(class StallWatch* stall);
  Failure ExplainEnd(Failure failure);

  HeapRequest request_;
  OnEnd on_end_;
  DiskWork disk_;
  std::unique_ptr<HeapControl> control_;
  HardeningPlan hardening_{};
  ForkedProcess process_;
  UniqueFd wake_;  // eventfd: abort asked for
  std::vector<AddressRange> left_forkable_;
  FreezeTimes times_;
  JobEnd end_ = JobEnd::kOther;
  int pid_ = 0;
  int64_t frozen_at_ns_ = 0;
  int64_t frozen_at_monotonic_ns_ = 0;
  std::atomic<uint64_t> child_bytes_{0};
  uint64_t child_bytes_peak_ = 0;  // the supervisor's
  std::atomic<bool> abort_{false};
  enum class Phase : int { kPreparing, kFrozen, kFailedToFreeze };
  std::atomic<Phase> phase_{Phase::kPreparing};
  Thread supervisor_;  // last: joined before anything it uses goes
};

}  // namespace stillframe
