// A restore whose memory is there at once: pages are read, checked and filled when they are touched, and all others in the
// background: first what was used first the last time, in that order, then from the last touch on.
//
//                  touch                       read, check
//     not there ----------> asked for urgently -----------> there
//         |                                                   ^
//         '----> taken by the background ---------------------'
//
// A block that the background has taken is read once more when it is touched: whoever touches it does not wait for the
// large read that it is a part of. Which of the two comes second changes nothing.
//
// When a block cannot be read, nothing of it is ever seen: what is not there then cannot be touched any more, and whoever
// does so, or waits for it, gets a fault (SIGSEGV), a system call EFAULT.
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
    // At a time; each of at most a chunk. While pages are being touched they are fewer, and smaller.
    size_t background = 2;
    size_t urgent = 1;  // the same, each of a block
    // Ends what is being read; called once, at a failure or a cancellation.
    std::function<void()> stop = [] {};
  };

  // plan.mode, plan.into and plan.prefetch do not count.
  static Result<std::shared_ptr<LazyRestore>> Start(ImageFile image, const RestorePlan& plan,
                                                    Reads reads);
  ~LazyRestore();

  // Until Adopt().
  const ImageFile& image() const { return *image_; }
  // In the order of the file.
  const std::vector<RestoredRegion>& regions() const { return regions_; }
  ReadControl control;

  // Any thread. What is not there yet never comes.
  void Cancel(Failure why);
  // One thread waits with this for all pages, or the failure, and makes an end of the threads. From then on the regions are
  // as any others.
  Status Finish();
  // Any other thread: until Finish() is about to return.
  void AwaitEnd();
  // Nobody asks for the image any more. It is closed with the end, however long somebody keeps the rest.
  void Adopt();
  // Any thread. Blocks in the order of their first use: those of the plan, then others that somebody has waited for.
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
    bool ahead = false;  // nobody has touched it
  };

  LazyRestore(ImageFile image, const RestorePlan& plan, Reads reads);
  Status MakeRegions(const std::vector<uint32_t>& sections);
  void Plan(const std::vector<FirstUse>& uses);
  Status StartThreads();
  void AnswerTouches();
  void Touched(std::byte* address);
  void Load(bool urgent);
  // None when there is nothing left for this kind of thread, or no sense in going on.
  std::optional<Piece> Take(bool urgent);
  std::optional<Piece> TakeUrgent();
  std::optional<Piece> TakeNext();
  // Where there are blocks to fetch.
  Place NextPlace();
  std::optional<Place> NextOfPlan();
  bool PlanGoesOn(const Place& place);
  bool IsQuiet() const;  // nobody has touched a page for a while
  Status FillPiece(const Piece& piece, ImageFile::Scratch* scratch, StateSum* state);
  void Fail(Failure failure);
  // The bytes that a block has in memory.
  uint64_t LengthInMemory(const Part& part, uint64_t block) const;
  void TellWhatIsMissing() const;
  bool CloseWhatIsMissing();

  std::optional<ImageFile> image_;  // empty when it has ended, and was adopted
  const ImageFile::Check check_;
  const bool
      sums_state_;  // that all files add up to the memory that was frozen is only known at the end
  const Reads reads_;
  std::vector<RestoredRegion> regions_;
  std::vector<RegionUse> uses_;
  std::unique_ptr<MissingPages> pages_;
  std::vector<std::unique_ptr<Thread>> loaders_;
  Thread toucher_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::vector<Part> parts_;
  std::deque<Piece> urgent_;
  std::vector<Place> first_uses_;  // those of the plan, then each that was waited for
  size_t planned_ = 0;             // so many of them are of the plan
  size_t next_planned_ = 0;        // those before have been looked at by the background
  Place next_{0, 0};               // where it goes on after those of the plan
  uint64_t missing_ = 0;           // blocks that have bytes, and are not there
  uint64_t not_taken_ = 0;         // those of them that the background has not taken
  size_t ahead_ = 0;               // reads of the background that are under way
  int64_t last_touch_ns_;          // and the start, after which most is touched
  bool stopped_ = false;
  bool ended_ = false;
  bool adopted_ = false;
  std::optional<Failure> failure_;
  StateSum state_;
};

}  // namespace stillframe
