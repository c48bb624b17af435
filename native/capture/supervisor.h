// Supervises one job, a capture or a forked copy that runs JavaScript, from the freeze to the
// published file.
//
//   JS thread    Open the target, Start the thread | freeze, Frozen | return
//   supervisor                               waits for the freeze | Attach | watch: abort, time, stall, Look
//                                                  | Saved | end of the disk's work | Ended
//   disk thread                                      sweep stale files | the last steps, publish
//
// After the freeze there is exactly one call of Ended(), on the supervisor's thread.
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

// A supervised job. Its functions are called on the supervisor's thread, in this order.
class Supervised {
 public:
  // The freeze has failed. Nothing else is called.
  virtual void NotFrozen() {}
  virtual Status Attach() = 0;
  // Becomes readable when saving has ended.
  virtual int wait_fd() const = 0;
  // A number that changes only with progress.
  virtual uint64_t Pulse() const = 0;
  // Called about every 20 ms while pages are being saved. A failure ends the job.
  virtual Status Look() = 0;
  // Saving has ended by itself (`so_far` is ok) or has to be ended. Returns how it went.
  virtual Status Saved(Status so_far) = 0;
  virtual DiskWork::LastSteps LastSteps() = 0;
  virtual void Ended(Status ended) = 0;

 protected:
  ~Supervised() = default;
};

class Supervisor {
 public:
  // Fails with kBusy if a capture of this process is writing to the same file. Not called for a job
  // that writes no file.
  Status Open(const TargetPlan& target) { return disk_.Open(target.path, target.options); }
  const TargetFile& target() const { return disk_.target(); }
  // For a forked copy that publishes its file itself: see DiskWork.
  void LeavePublishing() { disk_.LeavePublishing(); }
  Status PublishInCopy() { return disk_.PublishInCopy(); }
  // Starts the thread, which uses `job` and `control` until Join() returns. Frozen() must follow.
  Status Start(Supervised* job, ControlHeader* control, const JobLimits& limits);
  // Records the time of the freeze. Called just before the freeze.
  void NoteInstant();
  void Frozen(bool frozen);
  // May be called on any thread at any time. The job then ends with kAborted, unless the file has
  // been published already.
  void Abort();
  // Waits for the end, but not for a disk that does not respond.
  void Join() { thread_.Join(); }

  int64_t frozen_at_ns() const { return frozen_at_ns_; }
  double MillisecondsSinceFreeze() const;
  // True if work that is held up by the disk continues without us. Valid once the job has ended.
  bool left_behind() const { return disk_.left_behind(); }
  // True if a second attempt would end the same way, because the time is up or the disk does not
  // respond. Valid once the job has ended.
  bool out_of_time() const { return out_of_time_; }

 private:
  void Supervise();
  Status Watch();
  // A failure if the job must end because of an abort or the time limit.
  Status WhyStop(const char* step);

  Supervised* job_ = nullptr;
  ControlHeader* control_ = nullptr;
  JobLimits limits_;
  DiskWork disk_;
  UniqueFd wake_;  // eventfd, signaled by Abort()
  int64_t frozen_at_ns_ = 0;
  int64_t frozen_at_monotonic_ns_ = 0;
  bool out_of_time_ = false;
  std::atomic<bool> abort_{false};
  // Set once by Frozen(). The thread waits for it (C++20 atomic wait).
  enum class Phase : int { kPreparing, kFrozen, kFailedToFreeze };
  std::atomic<Phase> phase_{Phase::kPreparing};
  Thread thread_;  // last: joined before anything that it uses is destroyed
};

}  // namespace stillframe
