// A forked copy always ends, and reports how: complete only if each of its savers is. Proved with
// copies of this process that save frozen pages made up by the test, and with pages among
// neighbors that are given back.
#include "child/child.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "base/mapping.h"
#include "base/sys.h"
#include "base/unique_fd.h"
#include "child/forked_pages.h"
#include "image/file_sink.h"
#include "memory/page.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

constexpr uint64_t kBytes = 4 * kChunkSize;

// Memory that the test and the copy share.
struct Shared {
  std::atomic<bool> held{false};
  std::atomic<bool> reached{false};
  std::atomic<bool> first_is_done{false};
};

// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, and never deleted as a PageSource
class MadeUpPages final : public PageSource {
 public:
  explicit MadeUpPages(Shared* shared) : shared_(shared) {}

  uint64_t NextChunk(ControlHeader* control, uint64_t chunk_count) override {
    if (!only_helpers) return PageSource::NextChunk(control, chunk_count);
    if (syscall(SYS_gettid) == syscall(SYS_getpid)) {
      shared_->first_is_done = true;
      return chunk_count;
    }
    while (!shared_->first_is_done) sched_yield();
    return PageSource::NextChunk(control, chunk_count);
  }
  void CopyFrozen(uint32_t /*section*/, uint64_t /*offset*/, size_t length, std::byte* out,
                  CopiedPage* pages) override {
    memset(out, 7, length);
    for (uint64_t at = 0; at < length; at += kPageSize) *pages++ = AboutPage(out + at);
    shared_->reached = true;
    while (shared_->held) sched_yield();
  }
  void Release(uint32_t /*section*/, uint64_t /*offset*/, size_t /*length*/) override {}

  bool only_helpers = false;  // the first saver finds nothing to do, and ends before the others

 private:
  Shared* shared_;
};

class ForkedCopy : public ::testing::Test {
 protected:
  void SetUp() override {
    shared_ = new (shared_memory_.value().data()) Shared;
    control()->parent_ready = 1;
    int ends[2] = {-1, -1};
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    alive_.Reset(ends[0]);
    parent_.Reset(ends[1]);
    file_.Reset(memfd_create("copy", MFD_CLOEXEC));
  }
  void TearDown() override {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  ControlHeader* control() const { return control_.value().header(); }

  void Fork(uint32_t savers = 1) {
    ChildPlan plan;
    plan.save.sections = layout_.sections.data();
    plan.save.section_count = static_cast<uint32_t>(layout_.sections.size());
    plan.save.chunk_count = layout_.chunk_count;
    plan.save.pages = &pages_;
    plan.save.control = control();
    plan.save.index = control_.value().index();
    plan.save.sums = control_.value().sums();
    plan.save.buffers = control_.value().buffers();
    plan.save.saver_count = savers;
    FileSink sink(file_.get());
    plan.save.sink = &sink;
    plan.hardening = {control(), file_.get(), alive_.get(), true, outlives_parent_, kept_.get()};
    pid_ = fork();
    ASSERT_GE(pid_, 0);
    if (pid_ == 0) RunChild(plan);
    pidfd_.Reset(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    ASSERT_TRUE(pidfd_.valid());
  }

  bool EndsWithin(int milliseconds) const {
    pollfd end{pidfd_.get(), POLLIN, 0};
    return poll(&end, 1, milliseconds) > 0;
  }

  // Returns the exit status, or -1 if the copy does not end, or not by itself.
  int Ended() {
    if (!EndsWithin(30'000)) return -1;
    int status = 0;
    waitpid(std::exchange(pid_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  template <typename Condition>
  static void Await(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition() && std::chrono::steady_clock::now() < end) sched_yield();
    ASSERT_TRUE(condition());
  }
  void AwaitStep(SaveStep step) const {
    Await([&] { return control()->step == step; });
  }

  Result<Mapping> shared_memory_ = Mapping::Anonymous(sizeof(Shared), MAP_SHARED, "a test");
  Shared* shared_ = nullptr;
  ImageLayout layout_ = PlanLayout({{"main", kBytes}});
  Result<ControlBlock> control_ = ControlBlock::Create(layout_.block_count, {.savers = 2});
  MadeUpPages pages_{static_cast<Shared*>(static_cast<void*>(shared_memory_.value().data()))};
  UniqueFd alive_;
  UniqueFd parent_;
  UniqueFd file_;
  UniqueFd kept_;
  bool outlives_parent_ = false;
  UniqueFd pidfd_;
  pid_t pid_ = 0;
  FaultScope faults_;
};

TEST_F(ForkedCopy, SavesEverythingAndTellsSo) {
  Fork(2);
  EXPECT_EQ(Ended(), kChildComplete);
  EXPECT_EQ(control()->bytes_done, kBytes);
  EXPECT_EQ(control()->step, SaveStep::kFinished);
}

TEST_F(ForkedCopy, IsNotCompleteWhenOneOfItsSaversFailed) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "TSan does not let a copy have more than one saver";
#endif
  pages_.only_helpers = true;
  file_.Reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
  Fork(2);
  EXPECT_EQ(Ended(), kChildFailed);
  EXPECT_EQ(control()->error_number, EBADF);
}

TEST_F(ForkedCopy, SavesAloneWhereNoThreadCanBeStarted) {
  FaultScope::Fail("clone", 1, EAGAIN, true);
  Fork(2);
  EXPECT_EQ(Ended(), kChildComplete);
  EXPECT_EQ(control()->bytes_done, kBytes);
}

TEST_F(ForkedCopy, StaysReadableUntilItsParentHasOpenedWhatItNeeds) {
  control()->parent_ready = 0;
  Fork();
  AwaitStep(SaveStep::kWaitForParent);
  EXPECT_FALSE(EndsWithin(100));
  EXPECT_EQ(control()->step, SaveStep::kWaitForParent);
  control()->parent_ready = 1;
  EXPECT_EQ(Ended(), kChildComplete);
}

TEST_F(ForkedCopy, HearsAnAbortWhileItWaitsForItsParent) {
  control()->parent_ready = 0;
  Fork();
  AwaitStep(SaveStep::kWaitForParent);
  control()->abort_requested = 1;
  EXPECT_EQ(Ended(), kChildAborted);
}

TEST_F(ForkedCopy, EndsWithItsParentWhileItWaitsForIt) {
  control()->parent_ready = 0;
  Fork();
  AwaitStep(SaveStep::kWaitForParent);
  parent_.Reset();
  EXPECT_EQ(Ended(), kChildParentGone);
}

TEST_F(ForkedCopy, EndsWithItsParentWhileItSaves) {
  shared_->held = true;
  Fork();
  Await([&] { return shared_->reached.load(); });
  parent_.Reset();
  shared_->held = false;
  EXPECT_EQ(Ended(), kChildParentGone);
  EXPECT_LT(control()->bytes_done, kBytes);
}

TEST_F(ForkedCopy, OfAParentThatIsGoneDoesNothingAtAll) {
  parent_.Reset();
  Fork();
  EXPECT_EQ(Ended(), kChildParentGone);
  EXPECT_EQ(control()->step, SaveStep::kSignals);
}

TEST_F(ForkedCopy, ThatOutlivesItsParentGoesOnWithoutIt) {
  outlives_parent_ = true;
  control()->parent_ready = 0;
  parent_.Reset();
  Fork();
  EXPECT_EQ(Ended(), kChildComplete);
  EXPECT_EQ(control()->bytes_done, kBytes);
}

TEST_F(ForkedCopy, ThatOutlivesItsParentKeepsWhatItNeedsAndNothingElse) {
  outlives_parent_ = true;
  // The kept descriptors are below and above the others, with one in between that must be closed.
  kept_.Reset(open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const UniqueFd between(open("/dev/null", O_RDONLY | O_CLOEXEC));
  UniqueFd high(fcntl(file_.get(), F_DUPFD_CLOEXEC, 300));
  file_ = std::move(high);
  shared_->held = true;
  Fork();
  Await([&] { return shared_->reached.load(); });
  const auto has = [&](int fd) {
    const std::string path = "/proc/" + std::to_string(pid_) + "/fd/" + std::to_string(fd);
    struct stat about {};
    return lstat(path.c_str(), &about) == 0;
  };
  EXPECT_TRUE(has(kept_.get()));
  EXPECT_TRUE(has(file_.get()));
  EXPECT_FALSE(has(between.get()));
  shared_->held = false;
  EXPECT_EQ(Ended(), kChildComplete);
}

// A source that begins and ends within pages that others share.
class PagesOfACopy : public ::testing::Test {
 protected:
  void SetUp() override { memset(memory(), 1, 3 * page_); }

  std::byte* memory() const { return memory_.value().data(); }
  bool IsThere(size_t page) const { return memory()[page * page_] == std::byte{1}; }
  void Release(bool releasable) const {
    const ForkedSource source{memory() + 100, releasable, false};
    ForkedPages pages;
    pages.sources = &source;
    pages.page_size = page_;
    pages.Release(0, 0, 2 * page_);
  }

  const size_t page_ = SystemPageSize();
  Result<Mapping> memory_ = Mapping::Anonymous(3 * page_, MAP_PRIVATE, "a test");
};

TEST_F(PagesOfACopy, AreGivenBackIfTheyAreOfOneSourceOnly) {
  Release(true);
  EXPECT_TRUE(IsThere(0));
  EXPECT_FALSE(IsThere(1));
  EXPECT_TRUE(IsThere(2));
}

TEST_F(PagesOfACopy, AreKeptIfTwoSourcesHaveThem) {
  Release(false);
  for (const size_t page : {0, 1, 2}) EXPECT_TRUE(IsThere(page)) << page;
}

}  // namespace
}  // namespace stillframe::test
