// One capture, from the call to the published file: the sources that it freezes, and its engine.
// Its threads and its end work as in every job; they are described in capture/supervisor.h.
//
//   JS thread      Start: open target, control block, engine.Prepare, supervisor thread | Freeze | return
//   supervisor     Attach | Look: engine, free space, cost of copy-on-write
//   disk thread    Collect | header and tail
//   parent thread  only for a delta: reads the sums that the savers wait for
//
// Start() returns a failure up to the freeze to its caller and leaves nothing behind. After the
// freeze there is exactly one call of on_end, on the supervisor's thread.
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
  RegionUse region;  // keeps a region alive and busy; empty for other sources
};

// What happens to the record of writes to the regions: it stays as it is, starts anew with this
// frame, or ends with this frame.
enum class Tracking : uint8_t { kAsItIs, kStart, kStop };

// True if writes to any of the sources are being recorded.
bool AnyTracked(const std::vector<CaptureSource>& sources);

struct CapturePlan {
  std::unique_ptr<Engine> engine;
  std::vector<CaptureSource> sources;
  // Replaces `sources`: a frame in files, which is compacted into one full file.
  std::shared_ptr<const ImageFile> chain;
  TargetPlan target;
  std::array<uint8_t, 16> id{};
  std::string metadata;
  std::string parent;                                // path of the parent; empty: none
  std::optional<std::array<uint8_t, 16>> parent_id;  // required id of the parent
  std::vector<std::string> parents;  // where to look for the parent's parents; empty: next to it
  Tracking tracking = Tracking::kAsItIs;
  bool may_be_pinned = false;  // see TrackPlan
  JobLimits limits;
  Encoding encoding;
  Pacing pacing;
};

struct CaptureOutcome {
  uint64_t file_length = 0;      // including holes
  uint64_t allocated_bytes = 0;  // disk space that the file takes
  double duration_ms = 0;        // from the freeze to the published file
  uint64_t pages_total = 0;
  uint64_t pages_zero = 0;
  uint64_t pages_copied = 0;
  uint64_t copied_bytes_peak = 0;
  std::optional<ParentMark> parent;
  uint64_t changed_bytes = 0;  // pages that differ from the parent; without a parent: all
  uint64_t scanned_bytes = 0;  // read in order to find the changed pages
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
  // Aborts and waits for the end, but not for a disk that does not respond.
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
  // Collects the result of the saving, then writes header and tail unless they are no longer
  // needed.
  static Status FinishFile(Work* work, int target_fd, PublishTurn* turn);
  Status CheckSources() const;
  void PrepareRecord();
  void EndRecord(bool complete);
  void RecordCost(const CopyCost& cost);
  static void ReadParent(Work* work);

  CapturePlan plan_;
  OnEnd on_end_;
  // State of saving and publishing. They continue to use it even after the capture has given up on
  // them.
  std::shared_ptr<Work> work_;
  std::shared_ptr<FrameRecord> record_;  // null if the engine keeps none
  std::optional<SpaceCheck> space_;
  std::optional<CostSchedule> schedule_;
  int pid_ = 0;
  std::atomic<uint64_t> copied_bytes_{0};
  CopyCost last_cost_;     // supervisor thread only
  Supervisor supervisor_;  // last: its thread uses all other members
};

}  // namespace stillframe
