// One capture, from the call to the published file: what it freezes and with which engine. What it
// has in common with every job, its threads and its end, is in capture/supervisor.h.
//
//   JS thread      Start: open target, control block, engine.Prepare, supervisor thread | Freeze | return
//   supervisor     Attach | Look: engine, free space, what copy-on-write has taken
//   disk thread    Collect | header and tail
//   parent thread  of a delta: reads the sums that the savers wait for
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
#include "capture/cost_schedule.h"
#include "capture/job_limits.h"
#include "capture/space_check.h"
#include "capture/supervisor.h"
#include "freeze/engine.h"
#include "freeze/frame_record.h"
#include "image/control_block.h"
#include "image/image_file.h"
#include "image/image_layout.h"
#include "image/pacing.h"
#include "memory/region.h"

namespace stillframe {

struct CaptureSource {
  std::string name;
  std::byte* data = nullptr;
  uint64_t byte_length = 0;
  bool dont_fork = false;
  RegionUse region;  // keeps a region's memory alive and busy; empty for other sources
};

// What becomes of the record of what is written to the regions: nothing, or it begins anew with this
// frame, or it ends with it.
enum class Tracking : uint8_t { kAsItIs, kStart, kStop };

// Whether record is kept of what is written to any of them.
bool AnyTracked(const std::vector<CaptureSource>& sources);

struct CapturePlan {
  std::unique_ptr<Engine> engine;
  std::vector<CaptureSource> sources;
  // In the place of sources: a frame that lies in files, which becomes one full file.
  std::shared_ptr<const ImageFile> chain;
  TargetPlan target;
  std::array<uint8_t, 16> id{};
  std::string metadata;
  std::string parent;                                // path of the file to build on; empty: none
  std::optional<std::array<uint8_t, 16>> parent_id;  // that it has to have
  std::vector<std::string> parents;  // where to look for what it builds on; empty: beside it
  Tracking tracking = Tracking::kAsItIs;
  bool may_be_pinned = false;  // see TrackPlan
  JobLimits limits;
  Encoding encoding;
  Pacing pacing;
};

struct CaptureOutcome {
  uint64_t file_length = 0;      // holes included
  uint64_t allocated_bytes = 0;  // that the file takes on the disk
  double duration_ms = 0;        // from the freeze to the published file
  uint64_t pages_total = 0;
  uint64_t pages_zero = 0;
  uint64_t pages_copied = 0;
  uint64_t copied_bytes_peak = 0;
  std::optional<ParentMark> parent;
  uint64_t changed_bytes = 0;  // of pages that are not as in the parent; without one: all
  uint64_t scanned_bytes = 0;  // that were read to find them
};

struct CaptureProgress {
  uint64_t bytes_done;
  uint64_t bytes_total;
  uint64_t bytes_written;
  uint64_t copied_bytes;
};

class Capture final : private Supervised {
 public:
  using OnEnd = std::function<void(Result<CaptureOutcome>)>;

  static Result<std::unique_ptr<Capture>> Start(CapturePlan plan, OnEnd on_end);
  // Aborts and waits for the end, but not for a disk that does not answer.
  ~Capture();

  // May be called on any thread at any time. The outcome is then kAborted, unless the file has been
  // published already.
  void Abort() { supervisor_.Abort(); }
  CaptureProgress Progress() const;  // any thread
  int64_t frozen_at_ns() const { return supervisor_.frozen_at_ns(); }
  int pid() const { return pid_; }

 private:
  explicit Capture(CapturePlan plan, OnEnd on_end);

  Status Prepare();
  Status Attach() override;
  int wait_fd() const override;
  uint64_t Pulse() const override;
  Status Look() override;
  Status Saved(Status so_far) override;
  DiskWork::LastSteps LastSteps() override;
  void Ended(Status ended) override;
  CaptureOutcome Outcome() const;
  struct Work;
  // Finds out how the saving ended; then writes header and tail, unless that is no longer wanted.
  static Status FinishFile(Work* work, int target_fd, PublishTurn* turn);
  Status CheckSources() const;
  void PrepareRecord();
  void EndRecord(bool complete);
  void RecordCost(const CopyCost& cost);
  static void ReadParent(Work* work);

  CapturePlan plan_;
  OnEnd on_end_;
  // What saving and publishing go on using, even after the capture has given up on them.
  std::shared_ptr<Work> work_;
  std::shared_ptr<FrameRecord> record_;  // null if the engine has none
  std::optional<SpaceCheck> space_;
  std::optional<CostSchedule> schedule_;
  int pid_ = 0;
  std::atomic<uint64_t> copied_bytes_{0};
  CopyCost last_cost_;     // the supervisor's
  Supervisor supervisor_;  // last: its thread uses all of it
};

}  // namespace stillframe
