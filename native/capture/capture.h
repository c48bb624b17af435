// One capture, from the call to the published file.
//
//   JS thread      Start: open target, control block, engine.Prepare, supervisor thread | Freeze | return
//   supervisor                                                     waits for the freeze | Attach, watch:
//                  stall, memory, abort | end of the disk's work | on_end
//   disk thread                        sweep stale files | Collect | header and tail | publish
//
// A failure before the freeze is one of Start(), on the caller's thread, with nothing done.
// Everything after the freeze ends in exactly one call of on_end, on the supervisor's thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread.h"
#include "base/unique_fd.h"
#include "capture/disk_work.h"
#include "capture/space_check.h"
#include "freeze/engine.h"
#include "image/control_block.h"
#include "image/target_file.h"
#include "memory/region.h"

namespace stillframe {

struct CaptureSource {
  std::string name;
  std::byte* data = nullptr;
  uint64_t byte_length = 0;
  bool dont_fork = false;
  RegionUse region;  // keeps a region's memory alive and busy; empty for other sources
};

struct CaptureRequest {
  std::unique_ptr<Engine> engine;
  std::vector<CaptureSource> sources;
  std::string path;  // absolute
  TargetOptions target;
  std::array<uint8_t, 16> id{};
  std::string metadata;
  uint64_t memory_limit = 0;  // bytes; 0: half of what is available
  AtLimit at_limit = AtLimit::kWait;
  int64_t stall_timeout_ms = 0;
  Encoding encoding;
  uint64_t max_bytes_per_second = 0;  // 0: as fast as it goes
  int nice = 0;                       // of the savers, at least
};

struct CaptureOutcome {
  uint64_t file_length = 0;      // holes included
  uint64_t allocated_bytes = 0;  // that the file takes on the disk
  double duration_ms = 0;        // from the freeze to the published file
  uint64_t pages_total = 0;
  uint64_t pages_zero = 0;
  uint64_t pages_copied = 0;
  uint64_t copied_bytes_peak = 0;
};

struct CaptureProgress {
  uint64_t bytes_done;
  uint64_t bytes_total;
  uint64_t bytes_written;
  uint64_t copied_bytes;
};

class Capture {
 public:
  using OnEnd = std::function<void(Result<CaptureOutcome>)>;

  static Result<std::unique_ptr<Capture>> Start(CaptureRequest request, OnEnd on_end);
  // Aborts and waits for the end, but not for a disk that does not answer.
  ~Capture();

  // May be called on any thread at any time. The outcome is then kAborted, unless the file has been
  // published already.
  void Abort();
  CaptureProgress Progress() const;  // any thread
  int64_t frozen_at_ns() const { return frozen_at_ns_; }
  int pid() const { return pid_; }

 private:
  explicit Capture(CaptureRequest request, OnEnd on_end);

  Status Prepare();
  void Supervise();
  Result<CaptureOutcome> Run();
  struct Work;
  // Finds out how the saving ended; then writes header and tail, unless that is no longer wanted.
  static Status FinishFile(Work* work, int target_fd, PublishTurn* turn);
  Status CheckSources() const;
  // Returns when the engine has ended, or when there is a reason to stop it.
  Status Watch();
  Status CheckAborted() const;
  void RecordCost(const CopyCost& cost);

  CaptureRequest request_;
  OnEnd on_end_;
  // What saving and publishing go on using, even after the capture has given up on them.
  std::shared_ptr<Work> work_;
  DiskWork disk_;
  UniqueFd wake_;  // eventfd: abort asked for
  std::optional<SpaceCheck> space_;
  int pid_ = 0;
  int64_t frozen_at_ns_ = 0;
  int64_t frozen_at_monotonic_ns_ = 0;
  std::atomic<uint64_t> copied_bytes_{0};
  CopyCost last_cost_;  // the supervisor's
  std::atomic<bool> abort_{false};
  // Set once by Start(); the supervisor waits for it (C++20 atomic wait).
  enum class Phase : int { kPreparing, kFrozen, kFailedToFreeze };
  std::atomic<Phase> phase_{Phase::kPreparing};
  Thread supervisor_;  // last: joined before anything it uses goes
};

}  // namespace stillframe
