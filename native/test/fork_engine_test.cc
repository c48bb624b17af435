// The forked copy has what it needs and takes nothing from others: the memory that it gives back
// belongs to no other source, and the memory that was made available to it stays out of all other
// children. Proved with nested sources, a copy that is stopped, and a refusal in the middle.
#include "freeze/fork_engine.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "memory/mapping_list.h"
#include "memory/page.h"
#include "test/engine_fixture.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

TEST(ForkEngine, KeepsThePagesOfASourceThatOthersLieIn) {
  const size_t page = SystemPageSize();
  const auto region = TouchedRegion(10 * page, false);
  const auto part = [&](uint64_t first, uint64_t count) {
    return FreezeSource{region->data() + first * page, count * page, true};
  };
  // The parts come first, and the saver is done with them when it gets to the whole.
  DirectCapture capture(Variant::kFork, {part(1, 1), part(5, 1), part(0, 10)}, 10 * page,
                        AtLimit::kWait, 1);
  ASSERT_TRUE(capture.Prepare().ok());
  ASSERT_TRUE(capture.Freeze().ok());
  ASSERT_TRUE(capture.Finish().ok());
  std::vector<std::byte> saved(10 * page);
  capture.ReadSaved(2, 0, saved.data(), saved.size());
  EXPECT_EQ(saved, std::vector<std::byte>(saved.size(), std::byte{1}));
}

TEST(ForkEngine, WhatHasBeenGivenBackIsNotLookedAt) {
  const size_t page = SystemPageSize();
  const auto region = TouchedRegion(page, false);
  DirectCapture capture(Variant::kFork, Regions{region}, page);
  capture.plan().will_peek = true;
  ASSERT_TRUE(capture.Prepare().ok());
  Engine& engine = capture.engine();
  ASSERT_TRUE(engine.Freeze().ok());
  ASSERT_EQ(kill(engine.pid(), SIGSTOP), 0);
  ASSERT_TRUE(engine.Attach().ok());
  std::vector<std::byte> seen(page);
  engine.Peek(0, 0, page, seen.data());
  EXPECT_EQ(seen, std::vector<std::byte>(page, std::byte{1}));
  // As if the copy had got to this chunk.
  std::atomic<uint64_t>& next_chunk = capture.plan().save.control->next_chunk;
  next_chunk = 1;
  engine.Peek(0, 0, page, seen.data());
  EXPECT_EQ(seen, std::vector<std::byte>(page));
  engine.Stop();
}

TEST(ForkEngine, ARefusalInTheMiddleLeavesNothingForkable) {
  const FaultScope faults;
  const Regions regions = {TouchedRegion(SystemPageSize(), false),
                           TouchedRegion(SystemPageSize(), false)};
  DirectCapture capture(Variant::kFork, regions, SystemPageSize());
  ASSERT_TRUE(capture.Prepare().ok());
  FaultScope::Fail("madvise", 2, ENOMEM);
  EXPECT_FALSE(capture.Freeze().ok());
  for (const auto& region : regions) EXPECT_TRUE(IsDontFork(region->data()).value());
}

}  // namespace
}  // namespace stillframe::test
