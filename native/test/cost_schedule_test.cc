// The cost of copy-on-write is measured at intervals in proportion to the price of
// measuring, and at once when the limit is near. Proved with limits above and below the
// amount that the process can have copied.
#include "capture/cost_schedule.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <time.h>

#include "base/clock.h"
#include "memory/page.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

constexpr uint64_t kFarAway = uint64_t{1} << 60;

void Sleep(int64_t milliseconds) {
  const timespec time{milliseconds / 1000, milliseconds % 1000 * 1'000'000};
  nanosleep(&time, nullptr);
}

void TouchPages(size_t pages) {
  const size_t length = pages * SystemPageSize();
  auto* at = static_cast<std::byte*>(
      mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(at, MAP_FAILED);
  madvise(at, length, MADV_NOHUGEPAGE);
  for (size_t i = 0; i < length; i += SystemPageSize()) at[i] = std::byte{1};
  munmap(at, length);
}

TEST(CostSchedule, WaitsWhenTheLimitIsFar) {
  const CostSchedule schedule(kFarAway);
  EXPECT_FALSE(schedule.Due());
  EXPECT_FALSE(schedule.measured());
  Sleep(250);
  EXPECT_TRUE(schedule.Due()) << "a fifth of a second has passed";
}

TEST(CostSchedule, DoesNotWaitWhenTheLimitIsNear) {
  CostSchedule schedule(1000 * SystemPageSize());
  TouchPages(600);
  EXPECT_GE(schedule.UpperBound(), 600 * SystemPageSize());
  EXPECT_TRUE(schedule.Due());
}

TEST(CostSchedule, DoesNotRestWhenTheLimitMayHaveBeenPassed) {
  CostSchedule schedule(1000 * SystemPageSize());
  schedule.Measured(MonotonicNanoseconds() - 10'000'000'000, 900 * SystemPageSize());
  EXPECT_FALSE(schedule.Due());
  TouchPages(200);
  EXPECT_TRUE(schedule.Due());
}

TEST(CostSchedule, EveryPageFaultCountsUntilItIsMeasured) {
  CostSchedule schedule(kFarAway);
  TouchPages(500);
  EXPECT_GE(schedule.UpperBound(), 500 * SystemPageSize());
  schedule.Measured(MonotonicNanoseconds(), 12345);
  EXPECT_TRUE(schedule.measured());
  EXPECT_GE(schedule.UpperBound(), 12345U);
  EXPECT_LT(schedule.UpperBound(), 12345 + 100 * SystemPageSize());
  TouchPages(500);
  EXPECT_GE(schedule.UpperBound(), 12345 + 500 * SystemPageSize());
}

TEST(CostSchedule, RestsInProportionToWhatAMeasurementTook) {
  // Near the limit it rests three times as long as the measurement took, that is, for 300 ms.
  CostSchedule near(uint64_t{1} << 30);
  near.Measured(MonotonicNanoseconds() - 100'000'000, uint64_t{900} << 20);
  EXPECT_FALSE(near.Due());
  Sleep(350);
  EXPECT_TRUE(near.Due());
  // Far from the limit, nine times as long.
  CostSchedule far(kFarAway);
  far.Measured(MonotonicNanoseconds() - 100'000'000, 1000);
  Sleep(350);
  EXPECT_FALSE(far.Due());
}

}  // namespace
}  // namespace stillframe::test
