#include "image/image_sweep.h"

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/thread.h"
#include "image/read_failure.h"

namespace stillframe {
namespace {

// Two threads keep the disk busy. More help where decompression or checksums take the time. A small
// amount of work is done by one thread before another has started.
size_t ReaderCount(uint64_t bytes, size_t at_once) {
  constexpr uint64_t kWorthAThread = uint64_t{8} << 20;
  constexpr size_t kMaxReaders = 8;
  cpu_set_t processors;
  const bool known = sched_getaffinity(0, sizeof processors, &processors) == 0;
  const size_t wanted = std::max<size_t>({known ? CPU_COUNT(&processors) : 0UL, 2, at_once});
  return std::min<size_t>({wanted, kMaxReaders, 1 + bytes / kWorthAThread});
}

}  // namespace

ImageSweep::ImageSweep(const ImageFile& image) : image_(image), targets_(image.sections().size()) {}

void ImageSweep::Fill(uint32_t section, std::byte* memory, Way way) {
  targets_[section] = {memory, way};
}

void ImageSweep::FillPages(uint32_t section, std::byte* memory, const uint64_t* pages) {
  targets_[section] = {memory, Way::kStraight, pages};
}

void ImageSweep::PlanTasks() {
  const bool all = extent_ != Extent::kFilled;
  const bool merged = extent_ != Extent::kOwn && image_.parent() != nullptr;
  gaps_ = all && !merged && check_ == ImageFile::Check::kChecksums;
  state_ = all && merged && check_ == ImageFile::Check::kChecksums;
  uint64_t total = 0;
  if (gaps_) tasks_.push_back({0, 0, 0});
  for (uint32_t i = 0; i < image_.sections().size(); i++) {
    const ImageFile::Section& section = image_.sections()[i];
    if (!all && targets_[i].memory == nullptr) continue;
    total += section.byte_length;
    for (uint64_t first = 0; first < section.block_count; first += kBlocksPerChunk) {
      tasks_.push_back({i, first, std::min(kBlocksPerChunk, section.block_count - first)});
    }
  }
  control_->bytes_total = total;
}

bool ImageSweep::Note(size_t task, Status status) {
  if (status.ok()) return true;
  const Failure& failure = status.failure();
  const std::lock_guard lock(mutex_);
  if (failure.code != FailureCode::kCorrupt) {
    if (task < failed_task_) {
      failed_task_ = task;
      failure_ = failure;
    }
    stop_ = true;
    return false;
  }
  found_.push_back(
      {task, {static_cast<uint64_t>(failure.offset), failure.section, failure.message}});
  if (found_.size() >= max_problems_) stop_ = true;
  return true;
}

Status ImageSweep::Read(const Task& task, std::byte* out, ImageFile::Scratch* scratch) const {
  if (extent_ != Extent::kOwn) {
    return image_.ReadBlocks(task.section, task.first, task.count, out, check_, scratch);
  }
  Status read = image_.ReadOwnBlocks(task.section, task.first, task.count, out, check_, scratch);
  if (!read.ok() || !compare_sums_) return read;
  return image_.CheckOwnSums(task.section, task.first, task.count, out);
}

Status ImageSweep::ReadPages(const Task& task, ImageFile::Scratch* scratch) const {
  const Target& target = targets_[task.section];
  const uint64_t* wanted = target.pages + task.first;
  if (std::all_of(wanted, wanted + task.count, [](uint64_t pages) { return pages == 0; })) {
    return Success{};
  }
  std::byte* out = target.memory + task.first * kBlockSize;
  return image_.ReadPages(task.section, task.first, task.count, wanted, out, check_, scratch);
}

Status ImageSweep::DoTask(const Task& task, ImageFile::Scratch* scratch, StateSum* state) {
  const ImageFile::Section& section = image_.sections()[task.section];
  const Target& target = targets_[task.section];
  const uint64_t offset = task.first * kBlockSize;
  const uint64_t length = std::min(task.count * kBlockSize, section.byte_length - offset);
  if (target.pages != nullptr) {
    Status filled = ReadPages(task, scratch);
    if (filled.ok()) control_->bytes_done += length;
    return filled;
  }
  // Nothing to read and nothing to write, because fresh memory is zero.
  const bool nothing = extent_ == Extent::kOwn
                           ? image_.HoldsNothing(task.section, task.first, task.count)
                           : image_.AllZero(task.section, task.first, task.count);
  if (target.way == Way::kStraight && nothing) {
    control_->bytes_done += length;
    return Success{};
  }
  // Whole pages of memory that nothing else uses yet are read in place. A read of the last page of
  // a section might go beyond the end of the memory.
  const bool straight =
      target.memory != nullptr && target.way == Way::kStraight && length % kPageSize == 0;
  std::byte* out = straight ? target.memory + offset : scratch->chunk();
  if (Status read = Read(task, out, scratch); !read.ok()) return read;
  if (target.memory != nullptr && !straight) memcpy(target.memory + offset, out, length);
  for (uint64_t i = 0; state_ && i < task.count; i++) {
    const uint64_t block = task.first + i;
    state->AddPages(task.section, block, out + i * kBlockSize,
                    PaddedBlockLength(section.byte_length, block));
  }
  control_->bytes_done += length;
  return Success{};
}

// Called after damage in a chunk, so that the report names each damaged block.
bool ImageSweep::CheckBlocks(const Task& task, ImageFile::Scratch* scratch) {
  const auto index = static_cast<size_t>(&task - tasks_.data());
  for (uint64_t block = task.first; block < task.first + task.count; block++) {
    Status read = Read({task.section, block, 1}, scratch->chunk(), scratch);
    if (!Note(index, std::move(read))) return false;
  }
  return true;
}

bool ImageSweep::CheckGaps(const Task& task, ImageFile::Scratch* scratch) {
  const auto index = static_cast<size_t>(&task - tasks_.data());
  Status gaps = image_.CheckGapsOfChunk(task.section, task.first, task.count, scratch);
  if (gaps.ok() || !image_.layout().gaps_by_block()) return Note(index, std::move(gaps));
  for (uint64_t block = task.first; block < task.first + task.count; block++) {
    if (!Note(index, image_.CheckGapsOfChunk(task.section, block, 1, scratch))) return false;
  }
  return true;
}

void ImageSweep::Work() {
  Result<ImageFile::Scratch> scratch = image_.MakeScratch();
  if (!scratch.ok()) {
    Note(next_task_, Status(scratch.failure()));
    return;
  }
  StateSum state;
  while (!stop_ && !control_->cancelled) {
    const size_t index = next_task_.fetch_add(1);
    if (index >= tasks_.size()) {
      const std::lock_guard lock(mutex_);
      sum_.Add(state);
      return;
    }
    const Task& task = tasks_[index];
    if (task.count == 0) {
      if (!Note(index, image_.CheckOuterGaps(&scratch.value()))) return;
      continue;
    }
    Status done = DoTask(task, &scratch.value(), &state);
    const bool damaged = !done.ok() && done.failure().code == FailureCode::kCorrupt;
    if (damaged ? !CheckBlocks(task, &scratch.value()) : !Note(index, std::move(done))) return;
    if (gaps_ && !CheckGaps(task, &scratch.value())) return;
  }
}

Result<std::vector<ImageProblem>> ImageSweep::Run(Extent extent, ImageFile::Check check,
                                                  size_t max_problems, ReadControl* control) {
  extent_ = extent;
  check_ = check;
  max_problems_ = max_problems;
  control_ = control;
  PlanTasks();
  if (gaps_) {
    Status sums = image_.CheckSums();
    compare_sums_ = sums.ok();
    // The sums come after the pages in the file.
    if (!Note(tasks_.size(), std::move(sums))) return failure_.failure();
  }
  {
    std::vector<Thread> helpers(ReaderCount(control->bytes_total, image_.source().reads_at_once()));
    // This thread is the first reader. Fewer threads than planned are sufficient.
    for (size_t i = 1; i < helpers.size(); i++) {
      if (!helpers[i].Start("stillframe-read", [this] { Work(); }).ok()) break;
    }
    Work();
    for (Thread& helper : helpers) helper.Join();
  }
  if (!failure_.ok()) return failure_.failure();
  if (control->cancelled) {
    return ReadingAborted();
  }
  std::stable_sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
    return std::pair(a.task, a.problem.offset) < std::pair(b.task, b.problem.offset);
  });
  std::vector<ImageProblem> problems;
  if (state_ && found_.empty() && sum_.value() != image_.trailer().state) {
    Note(0, image_.WrongState());
  }
  for (Found& found : found_) {
    if (problems.size() == max_problems_) break;
    problems.push_back(std::move(found.problem));
  }
  return problems;
}

}  // namespace stillframe
