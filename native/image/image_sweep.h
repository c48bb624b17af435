// Goes through an image file with several threads, chunk by chunk: to check all of it, to fill memory with sections of
// it, or both in one go, so that a checked restore reads each byte once.
//
// Chunks are taken in order, and each that was taken is finished: so what is found is the same every time, the damage
// that comes first, although several threads look for it.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "image/image_file.h"
#include "image/page_sums.h"

namespace stillframe {

class ImageSweep {
 public:
  explicit ImageSweep(const ImageFile& image);

  enum class Way : uint8_t {
    kStraight,  // fresh memory, all zero, that the kernel may write into: nobody else has it yet
    kByHand,    // it may be write-protected by a capture, where only our own writes are let through
  };
  // The section goes to `memory`, of at least its length. Bytes behind it are left alone.
  void Fill(uint32_t section, std::byte* memory, Way way);
  // Only these pages of each block, over what is there already; the caller keeps them.
  void FillPages(uint32_t section, std::byte* memory, const uint64_t* pages);

  // kFile: all sections; with kChecksums every other byte of the file too, or, where it builds on another one, that both
  // add up to the memory that was frozen. kOwn: every byte of this file alone. kFilled: only what is to be filled.
  enum class Extent : uint8_t { kFile, kOwn, kFilled };
  // Problems come in the order of sections and positions; after max_problems it stops. A failure is one of reading, or
  // a cancellation. Unless there are no problems, memory that was to be filled holds anything.
  Result<std::vector<ImageProblem>> Run(Extent extent, ImageFile::Check check, size_t max_problems,
                                        ReadControl* control);

 private:
  struct Task {
    uint32_t section;
    uint64_t first;  // block
    uint64_t count;  // 0: the outer gaps
  };
  struct Target {
    std::byte* memory = nullptr;
    Way way = Way::kStraight;
    const uint64_t* pages = nullptr;  // by block, where not all are wanted
  };
  void PlanTasks();
  void Work();
  Status DoTask(const Task& task, ImageFile::Scratch* scratch, StateSum* state);
  Status ReadPages(const Task& task, ImageFile::Scratch* scratch) const;
  Status Read(const Task& task, std::byte* out, ImageFile::Scratch* scratch) const;
  // Return false when there is no sense in going on.
  bool CheckBlocks(const Task& task, ImageFile::Scratch* scratch);
  bool CheckGaps(const Task& task, ImageFile::Scratch* scratch);
  // Keeps damage; false when there is no sense in going on.
  bool Note(size_t task, Status status);

  const ImageFile& image_;
  std::vector<Target> targets_;  // by section
  Extent extent_ = Extent::kFile;
  std::vector<Task> tasks_;
  ImageFile::Check check_ = ImageFile::Check::kNone;
  bool gaps_ = false;          // are checked too
  bool state_ = false;         // so is the sum of all memory
  bool compare_sums_ = false;  // with those of the pages
  size_t max_problems_ = 0;
  ReadControl* control_ = nullptr;
  std::atomic<size_t> next_task_{0};
  std::atomic<bool> stop_{false};

  struct Found {
    size_t task;
    ImageProblem problem;
  };
  std::mutex mutex_;  // guards what follows
  std::vector<Found> found_;
  StateSum sum_;
  size_t failed_task_ = SIZE_MAX;
  Status failure_ = Success{};
};

}  // namespace stillframe
