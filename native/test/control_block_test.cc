// The control block is a single shared mapping that a forked child writes and its parent reads.
// Proved by forking a child.
#include "image/control_block.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>

#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

TEST(ControlBlock, HasRoomForIndexAndBounceBuffer) {
  for (const uint64_t blocks : {0, 1, 102, 103, 1000}) {
    Result<ControlBlock> made = ControlBlock::Create(blocks);
    ASSERT_TRUE(made.ok());
    const ControlBlock& control = made.value();
    EXPECT_EQ(control.block_count(), blocks);
    const auto* index_end = reinterpret_cast<std::byte*>(control.index() + blocks);
    EXPECT_LE(index_end, control.buffers()[0].bounce);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(control.buffers()[0].bounce) % kPageSize, 0U);
    control.buffers()[0].bounce[0] = control.buffers()[0].bounce[kChunkSize - 1] = std::byte{1};
    EXPECT_EQ(control.header()->error_number.load(), 0);
    EXPECT_EQ(control.header()->step.load(), SaveStep::kNone);
  }
}

TEST(ControlBlock, IsSharedWithAChild) {
  Result<ControlBlock> made = ControlBlock::Create(10);
  ASSERT_TRUE(made.ok());
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    made.value().header()->heartbeat.store(42);
    made.value().index()[9].block = 9;
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(made.value().header()->heartbeat.load(), 42U);
  EXPECT_EQ(made.value().index()[9].block, 9U);
}

TEST(ControlBlock, MayNotBeHad) {
  const FaultScope faults;
  FaultScope::Fail("mmap", 1, ENOMEM);
  Result<ControlBlock> made = ControlBlock::Create(10);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.failure().error_number, ENOMEM);
}

TEST(ControlBlock, EveryStepHasWordsOfItsOwn) {
  std::set<std::string> names;
  for (uint32_t step = 0; step <= static_cast<uint32_t>(SaveStep::kFinished); step++) {
    names.insert(SaveStepName(static_cast<SaveStep>(step)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(SaveStep::kFinished) + 1);
  // A corrupted child may leave any number there.
  EXPECT_STREQ(SaveStepName(static_cast<SaveStep>(12345)), "working");
}

}  // namespace
}  // namespace stillframe::test
