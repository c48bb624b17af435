// A disk that does not answer keeps nobody waiting, and abandoned work is never published. Proved
// with last steps that behave like such a disk: they wait until the test lets them continue.
#include "publish/disk_work.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "publish/direct_mode.h"
#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

using Names = std::vector<std::string>;

class Disk : public ::testing::Test {
 protected:
  Disk() {
    WriteFile(path_, "old");
    EXPECT_TRUE(work_.Open(path_, {}).ok());
    supervision_.wake_fd = wake_.get();
    supervision_.stall_timeout_ms = 60'000;
    supervision_.why_stop = [this] { return why_stop_ ? Aborted() : Status(Success{}); };
  }
  static Status Aborted() {
    Failure failure;
    failure.code = FailureCode::kAborted;
    return failure;
  }
  void Abort() {
    why_stop_ = true;
    eventfd_write(wake_.get(), 1);
  }
  Status End(DiskWork::LastSteps last_steps, Status so_far = Success{}) {
    return work_.End(std::move(so_far), std::move(last_steps), supervision_);
  }
  std::string Text() {
    const Bytes bytes = ReadAll(path_);
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  TemporaryDirectory directory_;
  std::string path_ = directory_.File("snapshot");
  UniqueFd wake_{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> why_stop_{false};
  std::shared_ptr<std::atomic<bool>> hang_ = std::make_shared<std::atomic<bool>>(true);
  Supervision supervision_;
  DiskWork work_;
  FaultScope faults_;
};

TEST_F(Disk, LeavesPublishingToTheCopyThatDoesItItself) {
  work_.LeavePublishing();
  LeaveDirectMode(work_.target().fd());
  ASSERT_EQ(pwrite(work_.target().fd(), "new", 3, 0), 3);
  // As in a job, the copy is made first.
  const pid_t copy = fork();
  ASSERT_GE(copy, 0);
  if (copy == 0) _exit(work_.PublishInCopy().ok() ? 0 : 1);
  work_.Begin();
  int status = -1;
  waitpid(copy, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Text(), "new");
  EXPECT_TRUE(End(nullptr).ok());
  EXPECT_EQ(Text(), "new");
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
}

TEST_F(Disk, PublishesNothingWhereTheCopyHasNot) {
  work_.LeavePublishing();
  work_.Begin();
  EXPECT_TRUE(End(nullptr).ok());
  EXPECT_EQ(Text(), "old");
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
}

TEST_F(Disk, SweepsAndPublishes) {
  WriteFile(directory_.File(".stillframe-0123456789abcdef0123456789abcdef.tmp"), "stale");
  work_.Begin();
  EXPECT_TRUE(End(nullptr).ok());
  EXPECT_EQ(Text(), "");
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
}

TEST_F(Disk, PublishesNothingWhenTheSavingHasFailed) {
  work_.Begin();
  bool collected = false;
  const auto collect = [&](int, PublishTurn* turn) {
    collected = turn->given_up();
    return Status(Success{});
  };
  EXPECT_EQ(End(collect, Aborted()).failure().code, FailureCode::kAborted);
  EXPECT_TRUE(collected) << "the end of the saving was not waited for";
  EXPECT_EQ(Text(), "old");
}

TEST_F(Disk, IsLeftBehindWhenItDoesNotAnswerAndPublishesNothingLater) {
  for (const bool stall : {false, true}) {
    DiskWork work;
    hang_ = std::make_shared<std::atomic<bool>>(true);
    why_stop_ = false;
    ASSERT_TRUE(work.Open(directory_.File("other"), {}).ok());
    work.Begin();
    supervision_.stall_timeout_ms = stall ? 50 : 60'000;
    const auto hung = [this, hang = hang_, stall](int, PublishTurn*) {
      if (!stall) Abort();
      hang->wait(true);
      return Status(Success{});
    };
    Status ended = work.End(Success{}, hung, supervision_);
    ASSERT_FALSE(ended.ok());
    EXPECT_EQ(ended.failure().code, stall ? FailureCode::kStalled : FailureCode::kAborted);
    EXPECT_TRUE(work.left_behind());
    DiskWork second;
    EXPECT_EQ(second.Open(directory_.File("other"), {}).failure().code, FailureCode::kBusy)
        << "two may publish to one file";
    *hang_ = false;
    hang_->notify_all();
    while (!second.Open(directory_.File("other"), {}).ok()) std::this_thread::yield();
    EXPECT_EQ(directory_.List(), Names{"snapshot"});
  }
}

TEST_F(Disk, WorkThatGetsOnIsNotStuck) {
  work_.Begin();
  supervision_.stall_timeout_ms = 200;
  // Takes five times as long as it may be silent.
  const auto slow = [](int, PublishTurn* turn) {
    for (int i = 0; i < 100; i++) {
      turn->Beat();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return Status(Success{});
  };
  EXPECT_TRUE(End(slow).ok());
}

TEST_F(Disk, AnAbortBeforeTheLastStepsPublishesNothing) {
  work_.Begin();
  Abort();
  EXPECT_EQ(End(nullptr).failure().code, FailureCode::kAborted);
  EXPECT_EQ(Text(), "old");
  EXPECT_EQ(directory_.List(), Names{"snapshot"});
}

TEST_F(Disk, AnAbortWhileThePublishedFileIsTidiedUpComesTooLate) {
  work_.Begin();
  // The objects that the last steps hold are destroyed once the file has been published.
  std::shared_ptr<void> last(this, [this](void*) {
    Abort();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  });
  auto hold = [last = std::move(last)](int, PublishTurn*) { return Status(Success{}); };
  EXPECT_TRUE(End(std::move(hold)).ok());
  EXPECT_EQ(Text(), "");
}

// No thread can have a stack of this size. Called in a child process, whose default it changes.
void RefuseThreads() {
  pthread_attr_t endless;
  pthread_attr_init(&endless);
  pthread_attr_setstacksize(&endless, size_t{1} << 50);
  pthread_setattr_default_np(&endless);
}

TEST_F(Disk, WithoutAThreadTheSupervisorPublishes) {
  const auto in_child = [this] {
    RefuseThreads();
    work_.Begin();
    _exit(End(nullptr).ok() && Text().empty() ? 0 : 1);
  };
  EXPECT_EXIT(in_child(), ::testing::ExitedWithCode(0), "");
}

TEST_F(Disk, WithoutAThreadNothingIsPublishedThatWasAborted) {
  const auto in_child = [this] {
    RefuseThreads();
    work_.Begin();
    Abort();
    const bool aborted = !End(nullptr).ok();
    _exit(aborted && Text() == "old" ? 0 : 1);
  };
  EXPECT_EXIT(in_child(), ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace stillframe::test
