// An engine freezes sources at one instant and sees to it that a saver gets the frozen pages.
//
// The supervisor (capture/) knows engines only through this interface. This is the life of one
// engine object, which serves one capture:
//
//   Prepare   all that may fail or take time, before the pause       the JS thread
//   Freeze    the instant; a fork saves from then on                 the JS thread, in the pause
//   then, on the supervisor's thread, until wait_fd() is readable:
//     Attach  once, right after Freeze: begins what need not be in the pause. The engines that save
//             from inside this process start their threads, so that a writer may wait until then
//     Cost    what copy-on-write takes just now
//     Peek    some of the frozen bytes
//     Stop    makes saving end soon, whatever state it is in
//   Collect   how it ended; afterwards nothing of the engine is left, and no page is protected
//
// The destructor stops and collects what has not been stopped and collected: no outcome leaves a
// child or a protected page behind.
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
  // Keeps a region mapped for as long as its pages are protected; empty if that is somebody else's
  // business.
  std::shared_ptr<RegionMemory> region = nullptr;
  // Not the memory of a Region, so others may have decided what a fork makes of it; and its
  // section, for messages about it.
  bool foreign = false;
  std::string_view name = {};
};

// What happens to a write that would need more than the memory limit.
enum class AtLimit : uint8_t { kWait, kAbort };

// What a frame has to do with the record of what was written to its sources since an earlier one.
struct TrackPlan {
  std::optional<FrameId> parent;  // the frame that this one is compared with, if that is known yet
  // A read that passes by the page table may be under way.
  bool may_be_pinned = false;
};

struct FreezePlan {
  std::vector<FreezeSource> sources;  // in the order of the sections
  SavePlan save;                      // `pages` is set by the engine
  uint64_t memory_limit = 0;          // bytes that copy-on-write may take at most
  AtLimit at_limit = AtLimit::kWait;
  bool will_peek = false;  // Peek() is going to be called
  TrackPlan track;
};

// What copy-on-write costs, as exactly as the engine can tell.
struct CopyCost {
  uint64_t bytes = 0;       // extra memory just now
  uint64_t bytes_peak = 0;  // the most that it was at any time, as far as it was looked at
  uint64_t pages = 0;       // copied so far
};

class Engine {
 public:
  virtual ~Engine() = default;

  // The plan, and everything it points to, outlives the engine.
  virtual Status Prepare(const FreezePlan& plan) = 0;
  virtual Status Freeze() = 0;
  // After the freeze, once: what is to be told how the frame ended. Null if nothing is.
  virtual std::shared_ptr<FrameRecord> TakeRecord() { return nullptr; }
  // Fails if what was frozen is not what the sources hold.
  virtual Status Attach() = 0;
  // Becomes readable when saving has ended, well or not.
  virtual int wait_fd() const = 0;
  // Costs CPU time, so the caller spaces its calls. Nothing if the cost cannot be told.
  virtual Result<CopyCost> Cost() = 0;
  // Reads frozen bytes while they are being saved, without getting in the way. Offset and length
  // are in whole pages, as far as the source has them, and within one chunk. A page that can no
  // longer be read comes back as zeros.
  virtual void Peek(uint32_t source, uint64_t offset, uint64_t length, std::byte* out) = 0;
  virtual void Stop() = 0;
  // Whether something has come between the engine and its frozen memory, which it must put right.
  // It is quick, and called at each look.
  virtual Status Check() { return Success{}; }
  // Waits for the end. Success means that every chunk has been written; otherwise it is the reason.
  virtual Status Collect() = 0;
  // Whether the engine itself never takes more than the limit. The others are measured and stopped.
  virtual bool keeps_limit() const { return false; }
  // The process that saves; 0 if it is this one.
  virtual int pid() const = 0;
};

}  // namespace stillframe
