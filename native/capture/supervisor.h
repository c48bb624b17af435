// Watches over one job, a capture or a forked copy that runs JavaScript, from the freeze to the
// published file.
//
//   JS thread    Open the target, Start the thread | freeze, Frozen | return
//   supervisor                               waits for the freeze | Attach | watch: abort, time, stall, Look
//                                                  | Saved | end of the disk's work | Ended
//   disk thread                                      sweep stale files | the last steps, publish
//
// Everything after the freeze ends in exactly one call of Ended(), on the supervisor's thread.
#pragma once

#include <atomic>
#include <cstdint>
#include "base/result.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "capture/job_limits.h"
#include "image/control_block.h"
#include "publish/disk_work.h"

namespace stillframe {

// What is watched over. Called on the supervisor's thread, in this order.
class Supervised {
 public:
  // The memory is not frozen after all: nothing else is called.
  virtual void NotFrozen() {}
  virtual Status Attach() = 0;
  // Becomes readable when the saving has ended.
  virtual int wait_fd() const = 0;
  // Stays the same as long as there is no progress.
  virtual uint64_t Pulse() const = 0;
  // About every 20 ms while pages are being saved: a failure ends the job.
  virtual Status Look() = 0;
  // The saving has ended by itself, or has to be ended: answers with how it went.
  virtual Status Saved(Status so_far) = 0;
  virtual DiskWork::LastSteps LastSteps() = 0;
  virtual void Ended(Status ended) = 0;

 protected:
  ~Supervised() = default;
};

class Supervisor {
 public:
  // kBusy if a capture of this process is writing to the same file. Not called for a job that writes
  // to no file.
  Status Open(const TargetPlan& target) { return disk_.Open(target.path, target.options); }
  const TargetFile& target() const { return disk_.target(); }
  // For a forked copy that publishes the file itself: see DiskWork.
  void LeavePublishing() { disk_.LeavePublishing(); }
  Status PublishInCopy() { return disk_.PublishInCopy(); }
  // Starts the thread, which uses both until Join() returns. Frozen() has to follow.
  Status Start(Supervised* job, ControlHeader* control, const JobLimits& limits);
  // The instant of the freeze; called just before it.
  void NoteInstant();
  void Frozen(bool frozen);
  // May be called on any thread at any time. The job then ends with kAborted, unless the file has
  // been published already.
  void Abort();
  // Waits for the end, but not for a disk that does not answer.
  void Join() { thread_.Join(); }

  int64_t frozen_at_ns() const { return frozen_at_ns_; }
  double MillisecondsSinceFreeze() const;
  // Work that a disk holds up goes on without us. Known once the job has ended.
  bool left_behind() const { return disk_.left_behind(); }
  // A second attempt would end in the same way: the time is up, or it is the disk that does not
  // answer. Likewise.
  bool out_of_time() const { return out_of_time_; }

 private:
  void Supervise();
  Status Watch();
  // The job has to end: it was asked to, or the time is up.
  Status WhyStop(const char* step);

  Supervised* job_ = nullptr;
  ControlHeader* control_ = nullptr;
  JobLimits limits_;
  DiskWork disk_;
  UniqueFd wake_;  // eventfd: abort asked for
  int64_t frozen_at_ns_ = 0;
  int64_t frozen_at_monotonic_ns_ = 0;
  bool out_of_time_ = false;
  std::atomic<bool> abort_{false};
  // Set once by Frozen(); the thread waits for it (C++20 atomic wait).
  enum class Phase : int { kPreparing, kFrozen, kFailedToFreeze };
  std::atomic<Phase> phase_{Phase::kPreparing};
  Thread thread_;  // last: joined before anything it uses goes
};

}  // namespace stillframe
