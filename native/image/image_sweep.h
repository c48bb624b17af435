// Reads an image file chunk by chunk with several threads: to check all of it, to fill memory with
// its sections, or to do both at once, so that a checked restore reads each byte only once.
//
// Chunks are taken in order, and each chunk that a thread takes is finished. So the result is
// always the same, the damage that comes first, although several threads look for it.
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
    kStraight,  // fresh, all-zero memory that nothing else uses yet, so the kernel may write to it
    kByHand,    // memory that a capture may write-protect, letting only our own writes through
  };
  // Reads the section to `memory`, which has at least its length. Bytes after the
  // section are left untouched.
  void Fill(uint32_t section, std::byte* memory, Way way);
  // Reads only these pages of each block, over what the memory holds already. The
  // caller keeps `pages` alive.
  void FillPages(uint32_t section, std::byte* memory, const uint64_t* pages);

  // kFile: all sections. With kChecksums, also every other byte of the file or, if it builds on
  // another file, that the files add up to the memory that was frozen.
  // kOwn: every byte of this file by itself.
  // kFilled: only what is to be filled.
  enum class Extent : uint8_t { kFile, kOwn, kFilled };
  // Problems are in the order of sections and positions, and the sweep stops after max_problems. It
  // fails only if reading fails or is cancelled. Unless there are no problems, the content of the
  // memory to fill is undefined.
  Result<std::vector<ImageProblem>> Run(Extent extent, ImageFile::Check check, size_t max_problems,
                                        ReadControl* control);

 private:
  struct Task {
    uint32_t section;
    uint64_t first;  // number of the first block
    uint64_t count;  // number of blocks; 0: the outer gaps
  };
  struct Target {
    std::byte* memory = nullptr;
    Way way = Way::kStraight;
    const uint64_t* pages = nullptr;  // wanted pages of each block; null: all
  };
  void PlanTasks();
  void Work();
  Status DoTask(const Task& task, ImageFile::Scratch* scratch, StateSum* state);
  Status ReadPages(const Task& task, ImageFile::Scratch* scratch) const;
  Status Read(const Task& task, std::byte* out, ImageFile::Scratch* scratch) const;
  // Return false if the sweep has failed.
  bool CheckBlocks(const Task& task, ImageFile::Scratch* scratch);
  bool CheckGaps(const Task& task, ImageFile::Scratch* scratch);
  // Records damage or a failure. Returns false if the sweep has failed.
  bool Note(size_t task, Status status);

  const ImageFile& image_;
  std::vector<Target> targets_;  // by section
  Extent extent_ = Extent::kFile;
  std::vector<Task> tasks_;
  ImageFile::Check check_ = ImageFile::Check::kNone;
  bool gaps_ = false;          // check the gaps too
  bool state_ = false;         // check the sum of all memory
  bool compare_sums_ = false;  // compare the sums in the file with the pages
  size_t max_problems_ = 0;
  ReadControl* control_ = nullptr;
  std::atomic<size_t> next_task_{0};
  std::atomic<bool> stop_{false};

  struct Found {
    size_t task;
    ImageProblem problem;
  };
  std::mutex mutex_;  // guards the members below
  std::vector<Found> found_;
  StateSum sum_;
  size_t failed_task_ = SIZE_MAX;
  Status failure_ = Success{};
};

}  // namespace stillframe
