// An engine freezes sources at one instant and provides savers with the frozen pages.
//
// The supervisor (capture/) knows engines only through this interface. An engine object serves one
// capture. Its life:
//
//   Prepare   everything that may fail or take time, before the freeze  the JS thread
//   Freeze    the instant; a fork saves from then on                    the JS thread, in the pause
//   then, on the supervisor's thread, until wait_fd() is readable:
//     Attach  once, right after Freeze: starts what need not be in the pause. The engines that save
//             from inside this process start their threads here, so a writer may wait until then
//     Cost    what copy-on-write uses at the moment
//     Peek    reads some of the frozen bytes
//     Stop    makes saving end soon, in any state
//   Collect   reports how it ended; then nothing of the engine remains, and no page is protected
//
// The destructor stops and collects if that has not been done: no outcome leaves a child process or
// a protected page behind.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "image/saver.h"
#include "memory/region.h"

namespace stillframe {

class FrameRecord;
using FrameId = std::array<uint8_t, 16>;

struct FreezeSource {
  std::byte* data;
  uint64_t byte_length;
  bool dont_fork;  // the mapping is MADV_DONTFORK
  // Keeps a region mapped while its pages are protected; empty if the caller takes care of that.
  std::shared_ptr<RegionMemory> region = nullptr;
  // Not the memory of a Region, so others may have set what a fork does with it. `name` is its
  // section, for messages.
  bool foreign = false;
  std::string_view name = {};
};

// How to treat a write that would exceed the memory limit.
enum class AtLimit : uint8_t { kWait, kAbort };

// How a frame uses the record of the writes to its sources since an earlier frame.
struct TrackPlan {
  std::optional<FrameId> parent;  // frame to compare this one with, if it is known yet
  // A read that bypasses the page table may be under way.
  bool may_be_pinned = false;
};

struct FreezePlan {
  std::vector<FreezeSource> sources;  // in the order of the sections
  SavePlan save;                      // `pages` is set by the engine
  uint64_t memory_limit = 0;          // bytes that copy-on-write may use at most
  AtLimit at_limit = AtLimit::kWait;
  bool will_peek = false;  // Peek() will be called
  TrackPlan track;
};

// Cost of copy-on-write, as exactly as the engine can tell.
struct CopyCost {
  uint64_t bytes = 0;       // extra memory in use now
  uint64_t bytes_peak = 0;  // highest value of `bytes` that was measured
  uint64_t pages = 0;       // copied so far
};

class Engine {
 public:
  virtual ~Engine() = default;

  // The plan and everything it points to must outlive the engine.
  virtual Status Prepare(const FreezePlan& plan) = 0;
  virtual Status Freeze() = 0;
  // Called once, after the freeze. The record to tell how the frame ended; null if there is none.
  virtual std::shared_ptr<FrameRecord> TakeRecord() { return nullptr; }
  // Fails if the frozen pages do not hold what the sources hold.
  virtual Status Attach() = 0;
  // Becomes readable when saving has ended, successfully or not.
  virtual int wait_fd() const = 0;
  // Takes CPU time, so callers space their calls. Fails if the cost cannot be determined.
  virtual Result<CopyCost> Cost() = 0;
  // Reads frozen bytes while they are being saved, without disturbing the savers. Offset and length
  // are in whole pages, except at the end of the source, and within one chunk. A page that can no
  // longer be read comes back as zeros.
  virtual void Peek(uint32_t source, uint64_t offset, uint64_t length, std::byte* out) = 0;
  virtual void Stop() = 0;
  // Repairs whatever has come between the engine and its frozen memory; fails if it cannot. Quick,
  // and called at each look of the supervisor.
  virtual Status Check() { return Success{}; }
  // Waits for the end. Success means that every chunk has been written; a failure gives the reason.
  virtual Status Collect() = 0;
  // True if the engine never exceeds the memory limit. Other engines are measured and stopped.
  virtual bool keeps_limit() const { return false; }
  // Id of the process that saves; 0 if it is this process.
  virtual int pid() const = 0;
};

}  // namespace stillframe
