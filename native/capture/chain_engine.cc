#include "capture/chain_engine.h"

#include <sys/eventfd.h>

#include <cstring>
#include <utility>

#include "base/sys.h"
#include "freeze/saver_threads.h"
#include "image/control_block.h"

namespace stillframe {

ChainEngine::~ChainEngine() {
  Stop();
  saver_.Join();
}

Status ChainEngine::Prepare(const FreezePlan& plan) {
  save_ = plan.save;
  save_.pages = this;
  const int ended = sys::Eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (ended < 0) return SystemFailure("eventfd2", -ended, "cannot prepare the saver thread");
  ended_.Reset(ended);
  return Success{};
}

Status ChainEngine::Freeze() {
  return saver_.Start("stillframe-save", [this] { Save(); });
}

void ChainEngine::Save() {
  end_ = SaveWithThreads(save_);
  const uint64_t one = 1;
  sys::Write(ended_.get(), &one, sizeof one);
}

std::unique_ptr<ReadScratch> ChainEngine::TakeScratch() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      std::unique_ptr<ReadScratch> scratch = std::move(free_.back());
      free_.pop_back();
      return scratch;
    }
  }
  Result<ReadScratch> made = chain_->MakeScratch();
  if (made.ok()) return std::make_unique<ReadScratch>(std::move(made.value()));
  Fail(made.failure());
  return nullptr;
}

void ChainEngine::Fail(const Failure& failure) {
  const std::lock_guard lock(mutex_);
  if (!failure_) failure_ = failure;
  save_.control->abort_requested.store(1, std::memory_order_relaxed);
}

// Reads whole blocks of one chunk; `out` has room for the whole last page.
void ChainEngine::CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                             CopiedPage* pages) {
  std::unique_ptr<ReadScratch> scratch = TakeScratch();
  if (scratch == nullptr) return;
  Status read =
      chain_->ReadBlocks(section, offset / kBlockSize, DivideRoundingUp(length, kBlockSize), out,
                         ReadCheck::kChecksums, scratch.get());
  if (!read.ok()) Fail(read.failure());
  for (uint64_t at = 0; at < length; at += kPageSize) *pages++ = AboutPage(out + at);
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

void ChainEngine::Peek(uint32_t /*source*/, uint64_t /*offset*/, uint64_t length, std::byte* out) {
  memset(out, 0, length);
}

void ChainEngine::Stop() {
  if (save_.control != nullptr) {
    save_.control->abort_requested.store(1, std::memory_order_relaxed);
  }
}

Status ChainEngine::Collect() {
  saver_.Join();
  if (failure_) return *failure_;
  return DescribeEnd(end_, save_.control, "the compaction was aborted");
}

}  // namespace stillframe
