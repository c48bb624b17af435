// The record of the writes to a region between frames.
//
// The region stays write-protected. The first write to a unit of 2 MiB is a fault, which the
// thread of the region's own userfaultfd resolves: it marks the unit and lifts the protection of
// the whole unit, so that a huge page stays whole. From then on, writes to the unit cost nothing
// until a freeze protects the lifted units again, and only those. So the cost of a freeze follows
// what was written.
//
//                      the first write: a fault
//     protected, clean ------------------------> lifted, changed
//         ^                                           |
//         '----------- a freeze takes the marks ------'
//
// The marks that freeze n takes are its written units W(n): the units written between freezes n - 1
// and n. At freeze n, everything written since frame b is in one of W(b + 1) ... W(n). A frame that
// is complete, and was asked to, becomes the base, and all sets up to its own are dropped. A frame
// that fails, or is not to become the base, passes its set to the next frame. So no write is lost,
// and frames may end in any order.
//
// The race between a fault and a freeze: the handler first counts itself in `lifting_` and then
// checks for a capture. If there is none, it marks and lifts. The freeze first sets the capture and
// then waits until no thread is lifting. So the freeze takes every mark that was set before it, and
// a later fault belongs to the capture, whose gate is closed. A write is in the frame or in the set
// of the next frame, and never in neither.
//
// Protection begins only at freezes that find no direct read under way. A page that a direct read
// pins later is faulted in for it, and marked, at that time. A frame that may overlap a direct read
// neither uses the record nor becomes its base.
//
// Only faults are noticed. Memory that the host drops with madvise(MADV_DONTNEED) is not.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "freeze/engine.h"
#include "freeze/userfaultfd.h"
#include "memory/page.h"
#include "memory/region.h"

namespace stillframe {

class FrozenMemory;

class TrackedRegion {
 public:
  static constexpr size_t kUnitBytes = kHugePageSize;

  // Registers the memory, all of which counts as written. Fails with kBusy or kEngineUnavailable as
  // Userfaultfd::Register() does.
  static Result<std::shared_ptr<TrackedRegion>> Create(const RegionMemory& region);
  // The record of the region; null if there is none, or if it no longer notices writes.
  static std::shared_ptr<TrackedRegion> Of(const RegionMemory& region);

  // One capture at a time. The capture calls, in this order: BeginFreeze of all its regions,
  // TakeWritten of each, and EndCapture when none of its threads touches the memory any more.
  void BeginFreeze(FrozenMemory* capture);
  // Protects the lifted units and takes the marks for a frame. Returns 0, or -errno;
  // then the marks stay.
  int TakeWritten(uint64_t* frame);
  // For each unit, 1 if it was not written since the base; empty if the base is not this
  // section of this frame.
  std::vector<uint8_t> UnchangedSince(const FrameId& id, const std::string& section);
  // Bytes in the units that were written since the base, so far; empty without a base.
  std::optional<uint64_t> WrittenBytes();
  void EndCapture();

  // For the protection of a capture, from any thread: see WriteProtection.
  int Lift(std::byte* start, size_t length);
  int Release(std::byte* start, size_t length);
  void DropAll();

  // Report how a frame ended. Called from any thread.
  void BecomeBase(uint64_t frame, const FrameId& id, const std::string& section);
  void GiveToNext(uint64_t frame);
  // Forgets what was written since the base.
  void ForgetBase();

 private:
  explicit TrackedRegion(const RegionMemory& region);
  std::byte* UnitStart(size_t unit) const { return data_ + unit * kUnitBytes; }
  size_t UnitLength(size_t unit) const;
  size_t UnitOf(const void* address) const {
    return static_cast<size_t>(static_cast<const std::byte*>(address) - data_) / kUnitBytes;
  }
  void Mark(size_t unit);
  void Answer(const void* address);
  void GiveUp(int error_number);
  // Runs one of the two: `outside` if there is no capture, and none can begin meanwhile, or
  // `inside` with the capture that there is, which cannot end meanwhile.
  template <typename Outside, typename Inside>
  void WithCapture(Outside outside, Inside inside);
  // Calls each(start, length) for runs of lifted units in [first, end); stops at the first error.
  template <typename Each>
  int ForEachLifted(size_t first, size_t end, Each each);

  struct Written {
    uint64_t frame;
    std::vector<uint8_t> units;
  };

  std::byte* const data_;
  const size_t length_;
  const size_t unit_count_;
  // By unit. A lifted unit is also changed. Set by the thread that resolves a fault, before it
  // lifts the protection; cleared by a freeze while no thread does so.
  std::vector<std::atomic<uint8_t>> changed_;
  std::vector<std::atomic<uint8_t>> lifted_;

  std::atomic<FrozenMemory*> capture_{nullptr};
  std::atomic<uint32_t> lifting_{0};  // threads that mark and lift with no capture
  std::atomic<uint32_t> using_{0};    // threads that are inside the capture

  std::mutex mutex_;  // guards the members below
  uint64_t last_frame_ = 0;
  std::vector<Written> written_;  // in ascending order of frames
  uint64_t base_frame_ = 0;
  bool has_base_ = false;
  FrameId base_id_{};
  std::string base_section_;

  // Last, since its thread uses all the others. The thread ends while the memory is still mapped.
  Userfaultfd userfaultfd_;
};

}  // namespace stillframe
