// The control block is a single shared mapping that a forked child writes and its parent reads.
// Proved by forking a child.
#include "image/control_block.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "memory/page.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

TEST(ControlBlock, HasRoomForIndexAndBuffers) {
  for (const uint64_t blocks : {0, 1, 102, 103, 1000}) {
    Result<ControlBlock> made =
        ControlBlock::Create(blocks, {2, {Layout::kPacked, Codec::kZstd, 1}});
    ASSERT_TRUE(made.ok());
    const ControlBlock& control = made.value();
    EXPECT_EQ(control.block_count(), blocks);
    const auto* as_mapped_end = reinterpret_cast<std::byte*>(control.as_mapped() + blocks);
    std::vector<std::byte*> chunks;
    for (uint32_t i = 0; i < control.saver_count(); i++) {
      const SaverBuffers& buffers = control.buffers()[i];
      EXPECT_LE(as_mapped_end, buffers.workspace);
      EXPECT_LT(buffers.workspace, buffers.stack_end);
      chunks.insert(chunks.end(), {buffers.bounce, buffers.packed});
    }
    // Each in huge pages of its own.
    std::sort(chunks.begin(), chunks.end());
    for (size_t i = 0; i < chunks.size(); i++) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(chunks[i]) % kHugePageSize, 0U);
      if (i > 0) {
        EXPECT_GE(chunks[i] - chunks[i - 1], static_cast<ptrdiff_t>(kChunkSize));
      }
      chunks[i][0] = chunks[i][kChunkSize - 1] = std::byte{1};
    }
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
