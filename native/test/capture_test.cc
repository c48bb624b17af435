// A capture ends as it should, whatever happens to its engine and its sources, reports its cost,
// and leaves nothing in the memory of the process. Proved with a scripted engine, and by the amount
// of memory that malloc has handed out after many captures.
#include "capture/capture.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <optional>

#include "memory/page.h"
#include "test/engine_fixture.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

// The outcome of a capture.
struct End {
  std::optional<Result<CaptureOutcome>> outcome;
  std::atomic<bool> there{false};
};

// The answers of a scripted engine, and the calls that it has received.
struct Script {
  Status check = Success{};
  Status collected = Success{};
  Result<CopyCost> cost = CopyCost{};
  bool saves = true;  // if false, it never ends
  std::atomic<bool> attached{false};
  UniqueFd saved{eventfd(0, EFD_CLOEXEC)};
  std::atomic<int> stops{0};
};

class ScriptedEngine final : public Engine {
 public:
  explicit ScriptedEngine(Script* script) : script_(script) {}
  Status Prepare(const FreezePlan&) override { return Success{}; }
  Status Freeze() override { return Success{}; }
  Status Attach() override {
    script_->attached = true;
    script_->attached.notify_all();
    return Success{};
  }
  int wait_fd() const override { return script_->saved.get(); }
  Result<CopyCost> Cost() override { return script_->cost; }
  void Peek(uint32_t, uint64_t, uint64_t, std::byte*) override {}
  void Stop() override { script_->stops++; }
  Status Check() override { return script_->check; }
  Status Collect() override { return script_->collected; }
  int pid() const override { return 0; }

 private:
  Script* const script_;
};

class CaptureTest : public ::testing::Test {
 protected:
  CapturePlan Plan(Variant variant) const {
    CapturePlan plan;
    plan.engine = MakeEngine(variant);
    plan.target.path = directory_.File("snapshot");
    plan.target.options.durable = false;
    plan.limits.memory_limit = uint64_t{1} << 30;
    plan.limits.stall_timeout_ms = 60'000;
    return plan;
  }
  static CaptureSource WholeRegion(const std::shared_ptr<RegionMemory>& region) {
    return {"main", region->data(), region->byte_length(), true, RegionUse(region)};
  }
  static Result<std::unique_ptr<Capture>> Start(CapturePlan plan, End* end) {
    return Capture::Start(std::move(plan), [end](Result<CaptureOutcome> outcome) {
      end->outcome.emplace(std::move(outcome));
      end->there = true;
      end->there.notify_all();
    });
  }

  // Runs a capture whose engine follows the script, and returns its outcome.
  Result<CaptureOutcome> Play(Script* script) {
    CapturePlan plan = Plan(Variant::kFork);
    plan.engine = std::make_unique<ScriptedEngine>(script);
    plan.sources.push_back(WholeRegion(region_));
    End end;
    const auto capture = Start(std::move(plan), &end);
    EXPECT_TRUE(capture.ok());
    // Copying pages causes faults, which are counted from here on.
    script->attached.wait(false);
    const auto touched = TouchedRegion(region_->byte_length(), false);
    if (script->saves) eventfd_write(script->saved.get(), 1);
    end.there.wait(false);
    return std::move(*end.outcome);
  }
  void ExpectNothingPublished() const { EXPECT_EQ(directory_.List(), std::vector<std::string>{}); }
  static Status Refusal() { return Fail(FailureCode::kIo, "as it was told"); }

  TemporaryDirectory directory_;
  const std::shared_ptr<RegionMemory> region_ = TouchedRegion(SystemPageSize() * 4, false);
};

TEST_F(CaptureTest, EndsAndStopsItsEngineWhenTheEngineCannotGoOn) {
  Script script;
  script.check = Refusal();
  script.saves = false;
  Result<CaptureOutcome> outcome = Play(&script);
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.failure().message, "as it was told");
  EXPECT_EQ(script.stops, 1);
  ExpectNothingPublished();
}

TEST_F(CaptureTest, PublishesNothingThatItsEngineCouldNotSave) {
  Script script;
  script.collected = Refusal();
  Result<CaptureOutcome> outcome = Play(&script);
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.failure().message, "as it was told");
  ExpectNothingPublished();
}

TEST_F(CaptureTest, EndsWhenItCostsMoreThanTheLimit) {
  Script script;
  script.cost = CopyCost{uint64_t{2} << 30, uint64_t{2} << 30, 1};
  script.saves = false;
  Result<CaptureOutcome> outcome = Play(&script);
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.failure().code, FailureCode::kMemoryLimit);
  EXPECT_EQ(script.stops, 1);
  ExpectNothingPublished();
}

TEST_F(CaptureTest, TellsTheMostThatItCanHaveCostIfThatWasNeverMeasured) {
  Script script;
  script.cost = Refusal().failure();
  Result<CaptureOutcome> outcome = Play(&script);
  ASSERT_TRUE(outcome.ok());
  EXPECT_GT(outcome.value().copied_bytes_peak, 0U);
  EXPECT_LE(outcome.value().copied_bytes_peak, region_->byte_length());
}

TEST_F(CaptureTest, SharedMemoryIsRefusedSinceNoForkFreezesIt) {
  const size_t length = SystemPageSize();
  void* shared = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(shared, MAP_FAILED);
  CapturePlan plan = Plan(Variant::kFork);
  plan.sources.push_back({"main", static_cast<std::byte*>(shared), length, false, RegionUse()});
  End end;
  {
    const auto capture = Start(std::move(plan), &end);
    ASSERT_TRUE(capture.ok());
    end.there.wait(false);
  }
  ASSERT_FALSE(end.outcome->ok());
  EXPECT_EQ(end.outcome->failure().code, FailureCode::kEngineUnavailable);
  ExpectNothingPublished();
  munmap(shared, length);
}

class CaptureByEngine : public CaptureTest, public ::testing::WithParamInterface<Variant> {};

TEST_P(CaptureByEngine, LeavesNothingInMemory) {
  if (const std::string why = Missing(GetParam()); !why.empty()) GTEST_SKIP() << why;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
  GTEST_SKIP() << "only the malloc of glibc tells what it has given out";
#else
  const auto region = TouchedRegion(size_t{1} << 20, false);
  const auto capture_often = [&](int count) {
    for (int i = 0; i < count; i++) {
      CapturePlan plan = Plan(GetParam());
      plan.sources.push_back(WholeRegion(region));
      plan.metadata = "{}";
      if (i % 2 == 0) plan.encoding = Encoding{Layout::kPacked, Codec::kZstd, 1};
      End end;
      auto capture = Start(std::move(plan), &end);
      ASSERT_TRUE(capture.ok()) << capture.failure().message;
      memset(region->data(), i, region->byte_length());
      if (i % 5 == 0) capture.value()->Abort();
      end.there.wait(false);
      ASSERT_TRUE(end.outcome->ok() || i % 5 == 0) << end.outcome->failure().message;
    }
  };
  constexpr int kCount = 60;
  capture_often(30);  // stacks and arenas, which are then reused
  const size_t before = mallinfo2().uordblks;
  capture_often(kCount);
  // The smallest possible leak is an object of some ten bytes.
  EXPECT_LT(mallinfo2().uordblks, before + size_t{kCount} * 8);
#endif
}

INSTANTIATE_TEST_SUITE_P(All, CaptureByEngine,
                         ::testing::Values(Variant::kFork, Variant::kMprotect,
                                           Variant::kUserfaultfdThread,
                                           Variant::kUserfaultfdSignal),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

}  // namespace
}  // namespace stillframe::test
