// A restore whose memory is available at once. Pages are read, checked and filled when they are
// touched. All others are filled in the background: first the pages that were used first the last
// time, in that order, then onward from the last touch.
//
//                  touch                       read, check
//     not there ----------> asked for urgently -----------> there
//         |                                                   ^
//         '----> taken by the background ---------------------'
//
// A block that the background has taken is read again when it is touched, so that the thread that
// touches it does not wait for the large read that the block is a part of. The second of the two
// reads changes nothing.
//
// When a block cannot be read, nothing of it is ever seen. Missing pages can then no longer be
// touched: a thread that touches one, or waits for one, gets a fault (SIGSEGV), and a system
// call gets EFAULT.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/thread.h"
#include "image/image_file.h"
#include "image/page_sums.h"
#include "image/read_control.h"
#include "memory/region.h"
#include "restore/missing_pages.h"
#include "restore/restore.h"
#include "restore/restore_plan.h"

namespace stillframe {

class LazyRestore {
 public:
  struct Reads {
    // Concurrent reads, each of at most a chunk. While pages are being touched, they are
    // fewer and smaller.
    size_t background = 2;
    size_t urgent = 1;  // the same, each of a block
    // Ends the reads under way. Called once, at a failure or a cancellation.
    std::function<void()> stop = [] {};
  };

  // plan.mode, plan.into and plan.prefetch are ignored.
  static Result<std::shared_ptr<LazyRestore>> Start(ImageFile image, const RestorePlan& plan,
                                                    Reads reads);
  ~LazyRestore();

  // Valid until Adopt().
  const ImageFile& image() const { return *image_; }
  // In the order of the file.
  const std::vector<RestoredRegion>& regions() const { return regions_; }
  ReadControl control;

  // Any thread. Pages that are still missing are never filled.
  void Cancel(Failure why);
  // One thread waits here for all pages or for the failure, and ends the other threads. From then
  // on the regions are ordinary ones.
  Status Finish();
  // Any other thread: waits until Finish() is about to return.
  void AwaitEnd();
  // The caller no longer needs the image. It is closed when the restore ends, however long
  // this object is kept.
  void Adopt();
  // Any thread. Blocks in the order of their first use: the blocks of the plan, then others that a
  // thread has waited for.
  std::vector<FirstUse> FirstUses() const;

 private:
  enum class State : uint8_t { kZero, kMissing, kTaken, kUrgent, kThere };
  struct Part {
    uint32_t section;
    std::byte* start;
    std::vector<State> blocks;
  };
  struct Place {
    size_t part;
    uint64_t block;
  };
  struct Piece {
    size_t part;
    uint64_t first;  // block
    uint64_t count;
    bool ahead = false;  // no thread has touched it
  };

  LazyRestore(ImageFile image, const RestorePlan& plan, Reads reads);
  Status MakeRegions(const std::vector<uint32_t>& sections);
  void Plan(const std::vector<FirstUse>& uses);
  Status StartThreads();
  void AnswerTouches();
  void Touched(std::byte* address);
  void Load(bool urgent);
  // Empty when nothing is left for this kind of thread, or when it is pointless to go on.
  std::optional<Piece> Take(bool urgent);
  std::optional<Piece> TakeUrgent();
  std::optional<Piece> TakeNext();
  // The next place with blocks to fetch.
  Place NextPlace();
  std::optional<Place> NextOfPlan();
  bool PlanGoesOn(const Place& place);
  bool IsQuiet() const;  // no page has been touched for a while
  Status FillPiece(const Piece& piece, ImageFile::Scratch* scratch, StateSum* state);
  void Fail(Failure failure);
  // Length of a block in memory, in bytes.
  uint64_t LengthInMemory(const Part& part, uint64_t block) const;
  void TellWhatIsMissing() const;
  bool CloseWhatIsMissing();

  std::optional<ImageFile> image_;  // empty once the restore has ended and was adopted
  const ImageFile::Check check_;
  const bool sums_state_;  // checks at the end that all files add up to the frozen memory
  const Reads reads_;
  std::vector<RestoredRegion> regions_;
  std::vector<RegionUse> uses_;
  std::unique_ptr<MissingPages> pages_;
  std::vector<std::unique_ptr<Thread>> loaders_;
  Thread toucher_;

  mutable std::mutex mutex_;  // guards the members below
  std::condition_variable changed_;
  std::vector<Part> parts_;
  std::deque<Piece> urgent_;
  std::vector<Place> first_uses_;  // blocks of the plan, then each that was waited for
  size_t planned_ = 0;             // how many of them are of the plan
  size_t next_planned_ = 0;        // the background has passed those before this one
  Place next_{0, 0};               // where the background goes on after the plan
  uint64_t missing_ = 0;           // blocks that have bytes and are not there yet
  uint64_t not_taken_ = 0;         // missing blocks that no thread has taken
  size_t ahead_ = 0;               // reads of the background under way
  int64_t last_touch_ns_;          // initially the start, after which most touches come
  bool stopped_ = false;
  bool ended_ = false;
  bool adopted_ = false;
  std::optional<Failure> failure_;
  StateSum state_;
};

}  // namespace stillframe
