// A capture is complete only if each of its savers succeeds, whichever ends last. Proved with a
// disk that fails the very last write, after the other saver has found nothing left to do.
#include "freeze/in_process_engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "freeze/mprotect_engine.h"
#include "test/engine_fixture.h"

namespace stillframe::test {
namespace {

constexpr uint64_t kChunks = 2;

// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, and never deleted as a ByteSink
class FailsTheHelperAtTheEnd final : public ByteSink {
 public:
  explicit FailsTheHelperAtTheEnd(const ControlBlock& control) : control_(control) {}
  int64_t Write(const std::byte* bytes, uint64_t length, uint64_t /*offset*/) override {
    const std::byte* of_helper = control_.buffers()[1].bounce;
    if (bytes < of_helper || bytes >= of_helper + kChunkSize) {
      helper_writes_.wait(false);  // so that each saver has a chunk
      return static_cast<int64_t>(length);
    }
    helper_writes_ = true;
    helper_writes_.notify_all();
    // Waits until the other saver has asked for a third chunk.
    while (control_.header()->next_chunk <= kChunks) std::this_thread::yield();
    return -EIO;
  }
  void Extend(uint64_t /*length*/) override {}
  int fd() const override { return -1; }

 private:
  const ControlBlock& control_;
  std::atomic<bool> helper_writes_{false};
};

TEST(InProcessEngine, IsNotCompleteIfAHelperFailsWhenAllElseIsDone) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP()
      << "TSan has a thread of its own that blocks all signals, which is a reason to refuse";
#endif
  const Watchdog watchdog(std::chrono::seconds(240));
  const auto region = TouchedRegion(kChunks * kChunkSize, false);
  const ImageLayout layout = PlanLayout({{"main", region->byte_length()}});
  Result<ControlBlock> control = ControlBlock::Create(layout.block_count, {.savers = 2});
  ASSERT_TRUE(control.ok());
  FailsTheHelperAtTheEnd sink(control.value());
  FreezePlan plan;
  plan.sources.push_back({region->data(), region->byte_length(), true});
  plan.memory_limit = region->byte_length();
  plan.save.sections = layout.sections.data();
  plan.save.section_count = static_cast<uint32_t>(layout.sections.size());
  plan.save.chunk_count = layout.chunk_count;
  plan.save.control = control.value().header();
  plan.save.index = control.value().index();
  plan.save.sums = control.value().sums();
  plan.save.buffers = control.value().buffers();
  plan.save.saver_count = control.value().saver_count();
  plan.save.sink = &sink;
  MprotectEngine engine;
  ASSERT_TRUE(engine.Prepare(plan).ok());
  ASSERT_TRUE(engine.Freeze().ok());
  ASSERT_TRUE(engine.Attach().ok());
  Status collected = engine.Collect();
  ASSERT_FALSE(collected.ok());
  EXPECT_EQ(collected.failure().error_number, EIO);
}

}  // namespace
}  // namespace stillframe::test
