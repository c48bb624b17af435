#include "capture/chain_engine.h"

#include <sys/eventfd.h>

#include <cstring>
#include <string>
#include <utility>

#include "base/sys.h"
#include "image/control_block.h"
#include "image/saver.h"

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
  struct Helper {
    Thread thread;
    SaveEnd end = SaveEnd::kComplete;
  };
  Helper helpers[kMaxSavers];
  for (uint32_t number = 1; number < save_.saver_count; number++) {
    Helper& helper = helpers[number];
    const Status started = helper.thread.Start(
        "stillframe-save", [this, &helper, number] { helper.end = SaveChunks(save_, number); });
    if (!started.ok()) break;  // fewer do it too
  }
  end_ = SaveChunks(save_);
  for (Helper& helper : helpers) {
    helper.thread.Join();
    end_ = WorseEnd(end_, helper.end);
  }
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

// Whole blocks of one chunk, with room for the last page.
void ChainEngine::CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out) {
  std::unique_ptr<ReadScratch> scratch = TakeScratch();
  if (scratch == nullptr) return;
  Status read =
      chain_->ReadBlocks(section, offset / kBlockSize, DivideRoundingUp(length, kBlockSize), out,
                         ReadCheck::kChecksums, scratch.get());
  if (!read.ok()) Fail(read.failure());
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
  switch (end_) {
    case SaveEnd::kComplete:
      return Success{};
    case SaveEnd::kFailed: {
      const ControlHeader* control = save_.control;
      const SaveStep step = control->error_step.load(std::memory_order_relaxed);
      return SystemFailure(step == SaveStep::kWriting ? "pwrite" : "",
                           control->error_number.load(std::memory_order_acquire),
                           std::string("failed while ") + SaveStepName(step));
    }
    default:
      return stillframe::Fail(FailureCode::kAborted, "the compaction was aborted");
  }
}

}  // namespace stillframe
