// The record of what is written to a region between frames.
//
// The region stays write-protected. The first write to a unit of 2 MiB is a fault, which the thread
// of the region's own userfaultfd answers: it marks the unit and lifts its protection as a whole,
// so that a huge page stays one. From then on writes to the unit cost nothing, until a freeze
// protects again what was lifted, and nothing else: what a freeze costs follows what was written.
//
//                      the first write: a fault
//     protected, clean ------------------------> lifted, changed
//         ^                                           |
//         '----------- a freeze takes the marks ------'
//
// The marks that freeze n takes are its written units W(n): those written between the freezes n - 1
// and n. What was written since frame b, at freeze n, is in one of W(b + 1) ... W(n). A frame that
// is complete, and was asked to, becomes the base, and all sets up to its own are dropped. A frame
// that fails, or is not to become the base, gives its set to the next one. So nothing is lost by
// it, and frames may end in any order.
//
// The race between a fault and a freeze: the handler counts itself in `lifting_` and only then
// looks whether there is a capture. If there is none, it marks and lifts. The freeze first says
// that there is one and then waits until nobody is lifting. So a mark that was set before the
// freeze is taken by it, and a fault that comes later belongs to the capture, whose gate is closed:
// a write is in the frame or in the set of the next one, and never in neither.
//
// Protection only begins at freezes at which no direct read was found to be under way: a page that
// such a read pins later is faulted in for it, and marked, at that time. A frame for which that
// cannot be said neither uses the record nor becomes its base.
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

  // Registers the memory, all of which counts as written. kBusy and kEngineUnavailable as
  // Userfaultfd::Register().
  static Result<std::shared_ptr<TrackedRegion>> Create(const RegionMemory& region);
  // That of the region; null if its writes are not kept record of, or no longer can be.
  static std::shared_ptr<TrackedRegion> Of(const RegionMemory& region);

  // One capture at a time. In this order, by the capture: BeginFreeze of all its regions, then
  // TakeWritten of each; EndCapture when nobody of the capture touches the memory any more.
  void BeginFreeze(FrozenMemory* capture);
  // Protects what was lifted, and takes the marks for a frame. 0, or -errno: then the marks stay.
  int TakeWritten(uint64_t* frame);
  // Of each unit, whether it was not written since the base; empty if the base is not this section
  // of this frame.
  std::vector<uint8_t> UnchangedSince(const FrameId& id, const std::string& section);
  // The bytes of the units that were written since the base, so far; none without a base.
  std::optional<uint64_t> WrittenBytes();
  void EndCapture();

  // For the protection of a capture, from any thread: see WriteProtection.
  int Lift(std::byte* start, size_t length);
  int Release(std::byte* start, size_t length);
  void DropAll();

  // How a frame ended. From any thread.
  void BecomeBase(uint64_t frame, const FrameId& id, const std::string& section);
  void GiveToNext(uint64_t frame);
  // Nothing is known any more of what was written since the base.
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
  // Runs one of both: outside with no capture, which cannot begin meanwhile, or inside with the one
  // that there is, which cannot end meanwhile.
  template <typename Outside, typename Inside>
  void WithCapture(Outside outside, Inside inside);
  // Calls each(start, length) for runs of lifted units in [first, end); stops at an error.
  template <typename Each>
  int ForEachLifted(size_t first, size_t end, Each each);

  struct Written {
    uint64_t frame;
    std::vector<uint8_t> units;
  };

  std::byte* const data_;
  const size_t length_;
  const size_t unit_count_;
  // By unit. A lifted one is changed, too. Set by whoever answers a fault, before the protection is
  // lifted; cleared by a freeze while nobody does.
  std::vector<std::atomic<uint8_t>> changed_;
  std::vector<std::atomic<uint8_t>> lifted_;

  std::atomic<FrozenMemory*> capture_{nullptr};
  std::atomic<uint32_t> lifting_{0};  // who is marking and lifting with no capture
  std::atomic<uint32_t> using_{0};    // who is inside the capture

  std::mutex mutex_;  // guards what follows
  uint64_t last_frame_ = 0;
  std::vector<Written> written_;  // in ascending order of frames
  uint64_t base_frame_ = 0;
  bool has_base_ = false;
  FrameId base_id_{};
  std::string base_section_;

  // Last: its thread uses all of it. It ends while the memory is still mapped.
  Userfaultfd userfaultfd_;
};

}  // namespace stillframe
