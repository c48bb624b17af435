// Memory that fork leaves out is included in one fork and no other, and memory of others is left
// unchanged. Tested with mappings of this process that have the same advice as V8's, and by asking
// the kernel for the advice.
#include "heap/unforkable.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>

#include "base/sys.h"
#include "freeze/flip_lock.h"
#include "memory/page.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

const size_t kLength = 16 * SystemPageSize();

class Unforkable : public ::testing::Test {
 protected:
  void SetUp() override {
    at_ = static_cast<char*>(
        mmap(nullptr, kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(at_, MAP_FAILED);
    at_[0] = 7;
    ASSERT_EQ(madvise(at_, kLength, MADV_DONTFORK), 0);
  }
  void TearDown() override { munmap(at_, kLength); }

  AddressRange Own() const {
    const auto start = reinterpret_cast<uintptr_t>(at_);
    return {start, start + kLength};
  }
  bool Holds(const std::vector<AddressRange>& ranges) const {
    return std::any_of(ranges.begin(), ranges.end(), [this](const AddressRange& range) {
      return range.start <= Own().start && range.end >= Own().end;
    });
  }
  // The value that a child reads there: 7, or 0 if reading kills it.
  int InChild() const {
    const pid_t pid = fork();
    if (pid == 0) {
      signal(SIGSEGV, SIG_DFL);  // replaces the handler of a sanitizer
      _exit(at_[0]);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  }

  FaultScope faults_;
  char* at_ = nullptr;
};

TEST_F(Unforkable, IsLetInForOneFork) {
  EXPECT_EQ(InChild(), 0);
  {
    const std::lock_guard lock(FlipLock());
    Result<std::vector<AddressRange>> found = FindUnforkable({});
    ASSERT_TRUE(found.ok()) << found.failure().message;
    ASSERT_TRUE(Holds(found.value()));
    MakeForkable(found.value());
    EXPECT_EQ(InChild(), 7);
    EXPECT_TRUE(MakeUnforkable(found.value()).empty());
  }
  MendUnforkable();
  EXPECT_EQ(InChild(), 0);
  EXPECT_TRUE(IsDontFork(at_, kLength).value());
  // The mark (MADV_RANDOM) is gone, too.
  const Result<std::vector<AdvisedMapping>> advice = ReadAdvice();
  ASSERT_TRUE(advice.ok());
  for (const AdvisedMapping& each : advice.value()) {
    const bool is_own = each.range.start <= Own().start && Own().start < each.range.end;
    EXPECT_FALSE(is_own && each.random);
  }
}

TEST_F(Unforkable, StaysOutWhereItIsKeptOut) {
  const std::lock_guard lock(FlipLock());
  Result<std::vector<AddressRange>> found = FindUnforkable({Own()});
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(Holds(found.value()));
}

TEST_F(Unforkable, MemoryOfOthersInItsPlaceIsForkedAsBefore) {
  Result<std::vector<AddressRange>> found = std::vector<AddressRange>{};
  {
    const std::lock_guard lock(FlipLock());
    found = FindUnforkable({});
    ASSERT_TRUE(found.ok() && Holds(found.value()));
    MakeForkable(found.value());
    // Another thread unmaps it, and maps its own memory there.
    ASSERT_EQ(
        mmap(at_, kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        at_);
    at_[0] = 7;
    MakeUnforkable(found.value());
  }
  MendUnforkable();
  EXPECT_FALSE(IsDontFork(at_, kLength).value());
  EXPECT_EQ(InChild(), 7);
}

TEST_F(Unforkable, MemoryOfOthersInItsPlaceIsForkedAlsoWhenAnotherJobBeginsBeforeItIsMended) {
  {
    const std::lock_guard lock(FlipLock());
    const Result<std::vector<AddressRange>> found = FindUnforkable({});
    ASSERT_TRUE(found.ok() && Holds(found.value()));
    ASSERT_EQ(
        mmap(at_, kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
        at_);
    at_[0] = 7;
    MakeUnforkable(found.value());
  }
  {
    const std::lock_guard lock(FlipLock());
    const Result<std::vector<AddressRange>> found = FindUnforkable({});
    ASSERT_TRUE(found.ok());
    MakeForkable(found.value());
    MakeUnforkable(found.value());
  }
  MendUnforkable();
  EXPECT_FALSE(IsDontFork(at_, kLength).value());
  EXPECT_EQ(InChild(), 7);
}

TEST_F(Unforkable, MemoryOfOthersThatIsMappedWhileTheProbeIsReadIsForkedAsBefore) {
  for (int round = 0; round < 20; round++) {
    ASSERT_EQ(madvise(at_, kLength, MADV_DONTFORK), 0);
    {
      const std::lock_guard lock(FlipLock());
      FaultScope::Count("openat");
      std::atomic<bool> end{false};
      // The first list that is opened is our own, the second that of the probe.
      std::thread mapper([&] {
        while (sys::CallCount(sys::Call::kOpenat) < 2 && !end) {
        }
        mmap(at_, kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
      });
      const Result<std::vector<AddressRange>> found = FindUnforkable({});
      end = true;
      mapper.join();
      ASSERT_TRUE(found.ok());
      MakeForkable(found.value());
      MakeUnforkable(found.value());
    }
    MendUnforkable();
    ASSERT_FALSE(IsDontFork(at_, kLength).value()) << "round " << round;
  }
}

TEST_F(Unforkable, AMappedFileIsFoundLikeMemoryWithoutOne) {
  const MemoryFile file;
  ASSERT_EQ(ftruncate(file.fd(), static_cast<off_t>(kLength)), 0);
  ASSERT_EQ(mmap(at_, kLength, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, file.fd(), 0), at_);
  ASSERT_EQ(madvise(at_, kLength, MADV_DONTFORK), 0);
  {
    const std::lock_guard lock(FlipLock());
    const Result<std::vector<AddressRange>> found = FindUnforkable({});
    ASSERT_TRUE(found.ok());
    EXPECT_TRUE(Holds(found.value()));
  }
  MendUnforkable();
}

TEST_F(Unforkable, NoProbeIsLeft) {
  {
    const std::lock_guard lock(FlipLock());
    ASSERT_TRUE(FindUnforkable({}).ok());
  }
  MendUnforkable();
  siginfo_t info{};
  EXPECT_EQ(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace stillframe::test
