// Takes the place of an engine for memory in a compaction: the savers read the frozen state from a
// chain of files and write it as one full file. Nothing is frozen, and the only memory it takes is
// the working memory of the savers.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/thread.h"
#include "base/unique_fd.h"
#include "freeze/engine.h"
#include "image/image_file.h"

namespace stillframe {

class ChainEngine final : public Engine, private PageSource {
 public:
  explicit ChainEngine(std::shared_ptr<const ImageFile> chain) : chain_(std::move(chain)) {}
  ~ChainEngine() override;

  Status Prepare(const FreezePlan& plan) override;
  Status Freeze() override;
  Status Attach() override { return Success{}; }
  int wait_fd() const override { return ended_.get(); }
  Result<CopyCost> Cost() override { return CopyCost{}; }
  void Peek(uint32_t source, uint64_t offset, uint64_t length, std::byte* out) override;
  void Stop() override;
  Status Collect() override;
  bool keeps_limit() const override { return true; }
  int pid() const override { return 0; }

 private:
  // PageSource
  void CopyFrozen(uint32_t section, uint64_t offset, size_t length, std::byte* out,
                  CopiedPage* pages) override;
  void Release(uint32_t /*section*/, uint64_t /*offset*/, size_t /*length*/) override {}

  void Save();
  std::unique_ptr<ReadScratch> TakeScratch();
  void Fail(const Failure& failure);

  const std::shared_ptr<const ImageFile> chain_;
  SavePlan save_{};
  UniqueFd ended_;  // eventfd
  SaveEnd end_ = SaveEnd::kAborted;
  std::mutex mutex_;  // guards free_ and failure_
  std::vector<std::unique_ptr<ReadScratch>> free_;
  std::optional<Failure> failure_;
  Thread saver_;  // last: joined before anything that it uses is destroyed
};

}  // namespace stillframe
