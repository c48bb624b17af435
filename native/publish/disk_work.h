// All work on the target file except that of the savers, on a thread of its own, which may wait for
// the disk for as long as it takes. The supervisor of the capture need not.
//
//   thread       sweep | wait for End | the last steps, publish | release what they used
//   supervisor   Begin | saving goes on | End: watch for abort and stall
//
// A supervisor that gives up waits a moment longer, so that as a rule nothing is left when the end
// is reported. Work that the disk holds up for longer is left behind: when the disk goes on, it
// publishes nothing, or takes back what it has published, removes its temporary name and ends.
// Until then the target stays reserved.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "publish/target_file.h"

namespace stillframe {

// What ends the wait for the disk.
struct Supervision {
  int wake_fd = -1;  // readable: there may be a reason to stop
  int64_t stall_timeout_ms = 0;
  std::function<Status()> why_stop;
};

class DiskWork {
 public:
  // The last steps before the file is published. They own everything they use, and run in any case,
  // even when the turn has been given up and only the end of the saving has to be collected.
  using LastSteps = std::function<Status(int target_fd, PublishTurn* turn)>;

  DiskWork() = default;
  DiskWork(const DiskWork&) = delete;
  DiskWork& operator=(const DiskWork&) = delete;

  // Not called for work that has no file: there is nothing to begin and to publish then. kBusy if a
  // capture of this process is writing to the same file.
  Status Open(const std::string& path, const TargetOptions& options);
  const TargetFile& target() const;

  // A forked copy, which has this object too, calls the second; the first leaves it to the copy, and
  // is called before the fork.
  void LeavePublishing();
  Status PublishInCopy();

  // Sweeps the directory. End() has to follow.
  void Begin();
  // Takes the last steps and publishes. `so_far` is how the saving went; if it failed, nothing is
  // published, and that failure is returned.
  Status End(Status so_far, LastSteps last_steps, const Supervision& supervision);
  // Called after End.
  bool left_behind() const { return left_behind_; }

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
  bool on_thread_ = false;
  bool left_behind_ = false;
};

}  // namespace stillframe
