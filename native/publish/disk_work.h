// All work on the target file except that of the savers. It runs on a thread of its own, which may
// wait for the disk for as long as it takes. The supervisor of the capture need not wait.
//
//   thread       sweep | wait for End | the last steps, publish | release what they used
//   supervisor   Begin | saving goes on | End: watch for abort and stall
//
// A supervisor that gives up waits a moment longer, so that normally nothing is left when the end
// is reported. Work that the disk holds up for longer is left behind. When the disk responds again,
// that work publishes nothing, or takes back what it has published, removes its temporary name and
// ends. Until then, the target stays reserved.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "publish/target_file.h"

namespace stillframe {

// What ends the wait for the disk early.
struct Supervision {
  int wake_fd = -1;  // readable when there may be a reason to stop
  int64_t stall_timeout_ms = 0;
  std::function<Status()> why_stop;
};

class DiskWork {
 public:
  // The last steps before the file is published. They own everything that they use. They always
  // run, even when the turn has been given up and only the end of the saving is left to collect.
  using LastSteps = std::function<Status(int target_fd, PublishTurn* turn)>;

  DiskWork() = default;
  DiskWork(const DiskWork&) = delete;
  DiskWork& operator=(const DiskWork&) = delete;

  // Not called for work without a file, which has nothing to begin or publish. kBusy if a capture
  // of this process is writing to the same file.
  Status Open(const std::string& path, const TargetOptions& options);
  const TargetFile& target() const;

  // LeavePublishing() is called before a fork and leaves publishing to the copy. The copy, which
  // has this object too, calls PublishInCopy().
  void LeavePublishing();
  Status PublishInCopy();

  // Sweeps the directory. End() must follow.
  void Begin();
  // Takes the last steps and publishes. `so_far` is the outcome of the saving; if it failed,
  // nothing is published, and that failure is returned.
  Status End(Status so_far, LastSteps last_steps, const Supervision& supervision);
  // True if the disk still holds up the work. Valid after End().
  bool left_behind() const { return left_behind_; }

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  bool on_thread_ = false;
  bool left_behind_ = false;
};

}  // namespace stillframe
