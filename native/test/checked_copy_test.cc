// Memory of the caller is filled completely or with an error, never with a fault or a hang: it
// may be read-only, and a signal may interrupt the kernel. Proved by filling all kinds of memory,
// and with interrupted calls.
#include "memory/checked_copy.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <vector>

#include "base/mapping.h"
#include "test/engine_fixture.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

// More than a pipe holds, and not a multiple of that.
constexpr size_t kBytes = (size_t{3} << 20) + 5;

// The descriptors that a program started from here would inherit.
std::set<int> Inheritable() {
  std::set<int> found;
  for (int fd = 0; fd < 1024; fd++) {
    const int flags = fcntl(fd, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) == 0) found.insert(fd);
  }
  return found;
}

class MemoryOfOthers : public ::testing::Test {
 protected:
  MemoryOfOthers() {
    for (size_t i = 0; i < kBytes; i++) from_[i] = static_cast<std::byte>(i * 7 % 251);
  }
  Status Fill(std::byte* to) const { return copy_.value().Copy(to, from_.data(), kBytes); }
  void ExpectFilled() {
    std::vector<std::byte> to(kBytes);
    const Status filled = Fill(to.data());
    ASSERT_TRUE(filled.ok());
    EXPECT_EQ(memcmp(to.data(), from_.data(), kBytes), 0);
  }

  Watchdog watchdog_{std::chrono::seconds(240)};
  Result<CheckedCopy> copy_ = CheckedCopy::Create();
  std::vector<std::byte> from_ = std::vector<std::byte>(kBytes);
  FaultScope faults_;
};

TEST_F(MemoryOfOthers, IsFilledWithMoreThanAPipeHolds) { ExpectFilled(); }

TEST_F(MemoryOfOthers, IsFilledThoughSignalsInterruptTheKernel) {
  for (const char* call : {"write", "read"}) {
    SCOPED_TRACE(call);
    FaultScope::Fail(call, 2, EINTR);
    ExpectFilled();
  }
}

TEST_F(MemoryOfOthers, ThatIsReadOnlyIsAnError) {
  Result<Mapping> memory = Mapping::Anonymous(kBytes, MAP_PRIVATE, "a test");
  ASSERT_EQ(mprotect(memory.value().data(), kBytes, PROT_READ), 0);
  Status filled = Fill(memory.value().data());
  ASSERT_FALSE(filled.ok());
  EXPECT_EQ(filled.failure().error_number, EFAULT);
}

TEST(CheckedCopy, HasNothingThatAnotherProgramInherits) {
  const std::set<int> before = Inheritable();
  const Result<CheckedCopy> copy = CheckedCopy::Create();
  ASSERT_TRUE(copy.ok());
  EXPECT_EQ(Inheritable(), before);
}

}  // namespace
}  // namespace stillframe::test
