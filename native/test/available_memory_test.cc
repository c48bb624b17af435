// The kernel is not asked again for a figure that a capture has read a moment ago. Proved by
// counting the files that are opened.
#include "memory/available_memory.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "base/sys.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

TEST(RecentlyAvailableMemory, IsThatOfTheLastLookForAWhile) {
  LookAtAvailableMemory();
  const FaultScope faults;
  FaultScope::Count("openat");
  const uint64_t recent = RecentlyAvailableMemory();
  EXPECT_GT(recent, 0U);
  EXPECT_EQ(RecentlyAvailableMemory(), recent);
  EXPECT_EQ(sys::CallCount(sys::Call::kOpenat), 0U);
  std::this_thread::sleep_for(std::chrono::milliseconds(2'100));
  EXPECT_GT(RecentlyAvailableMemory(), 0U);
  EXPECT_GT(sys::CallCount(sys::Call::kOpenat), 0U);
}

}  // namespace
}  // namespace stillframe::test
