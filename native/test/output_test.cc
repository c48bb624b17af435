// A forked copy's output reaches the file unchanged, the first error is kept, and a copy whose job
// was aborted exits. Tested with a memory file, failing writes, and a copy of this process.
#include "heap/output.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/sys.h"
#include "base/unique_fd.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

class OutputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(pipe(fds), 0);
    alive_read_.Reset(fds[0]);
    alive_write_.Reset(fds[1]);
    hardening_ = {control_.header(), file_.fd(), alive_read_.get(), true};
  }
  void TearDown() override { sys::ClearFaults(); }

  HeapControl control_ = std::move(HeapControl::Create().value());
  MemoryFile file_;
  UniqueFd alive_read_;
  UniqueFd alive_write_;
  HardeningPlan hardening_{};
};

TEST_F(OutputTest, IsTheFileByteForByteHoweverItIsHandedOver) {
  Output output(control_, hardening_, Output::Target::kFile);
  Bytes expected;
  // Lengths around the size of the buffer.
  for (const size_t length : {size_t{0}, size_t{1}, HeapControl::kOutputBytes - 1, size_t{1},
                              HeapControl::kOutputBytes, 3 * HeapControl::kOutputBytes + 7}) {
    Bytes piece(length);
    for (size_t i = 0; i < length; i++) piece[i] = std::byte(i * 7 + length);
    EXPECT_TRUE(output.Append(piece.data(), piece.size()));
    expected.insert(expected.end(), piece.begin(), piece.end());
  }
  EXPECT_TRUE(output.Finish());
  EXPECT_EQ(ReadAll(file_.fd()), expected);
  EXPECT_EQ(control_.header()->bytes_written.load(), expected.size());
}

TEST_F(OutputTest, GoesOnAfterShortAndInterruptedWrites) {
  FaultScope::Fail("pwrite", 1, EINTR);
  Output output(control_, hardening_, Output::Target::kFile);
  EXPECT_TRUE(output.Append("text", 4));
  EXPECT_TRUE(output.Finish());
  EXPECT_EQ(ReadAll(file_.fd()).size(), 4U);
}

TEST_F(OutputTest, KeepsTheFirstErrorAndWritesNothingAfterIt) {
  Output output(control_, hardening_, Output::Target::kFile);
  const Bytes piece(HeapControl::kOutputBytes, std::byte{1});
  EXPECT_TRUE(output.Append(piece.data(), piece.size()));
  FaultScope::Fail("pwrite", 1, ENOSPC);
  EXPECT_FALSE(output.Append(piece.data(), piece.size()));
  EXPECT_FALSE(output.Append(piece.data(), piece.size()));
  EXPECT_FALSE(output.Finish());
  EXPECT_EQ(control_.header()->error_number.load(), ENOSPC);
  EXPECT_EQ(control_.header()->error_offset.load(), HeapControl::kOutputBytes);
  EXPECT_EQ(control_.header()->error_step.load(), SaveStep::kWriting);
  EXPECT_EQ(ReadAll(file_.fd()).size(), HeapControl::kOutputBytes);
}

TEST_F(OutputTest, EndsTheCopyWhoseJobWasAbortedOrWhoseParentIsGone) {
  const auto write = [this] {
    Output output(control_, hardening_, Output::Target::kFile);
    output.Append("text", 4);
    output.Finish();
    _exit(0);
  };
  EXPECT_EXIT(write(), ::testing::ExitedWithCode(kChildComplete), "");
  control_.header()->abort_requested = 1;
  EXPECT_EXIT(write(), ::testing::ExitedWithCode(kChildAborted), "");
  control_.header()->abort_requested = 0;
  alive_write_.Reset();
  EXPECT_EXIT(write(), ::testing::ExitedWithCode(kChildParentGone), "");
}

}  // namespace
}  // namespace stillframe::test
