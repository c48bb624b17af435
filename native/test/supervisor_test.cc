// A job is notified of each step once and in order, and of nothing if it was never frozen; and a
// disk that hangs at the end is known as the cause even if it answers soon after. Tested with a job
// that records its notifications.
#include "capture/supervisor.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "test/image_fixture.h"

namespace stillframe::test {
namespace {

using Calls = std::vector<std::string>;

// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, and never deleted as a Supervised
class Job final : public Supervised {
 public:
  void NotFrozen() override { calls.emplace_back("NotFrozen"); }
  Status Attach() override {
    calls.emplace_back("Attach");
    return Success{};
  }
  int wait_fd() const override { return saved_.get(); }
  uint64_t Pulse() const override { return 0; }
  Status Look() override { return Success{}; }
  Status Saved(Status so_far) override {
    calls.emplace_back("Saved");
    return so_far;
  }
  DiskWork::LastSteps LastSteps() override {
    calls.emplace_back("LastSteps");
    return last_steps;
  }
  void Ended(Status ended) override {
    calls.emplace_back("Ended");
    end = std::move(ended);
  }

  Calls calls;
  DiskWork::LastSteps last_steps;
  Status end = Success{};

 private:
  UniqueFd saved_{eventfd(1, EFD_CLOEXEC)};
};

class SupervisorTest : public ::testing::Test {
 protected:
  void Run(bool frozen, const JobLimits& limits) {
    ASSERT_TRUE(supervisor_.Open({directory_.File("snapshot"), {}}).ok());
    ASSERT_TRUE(supervisor_.Start(&job_, control_.header(), limits).ok());
    supervisor_.NoteInstant();
    supervisor_.Frozen(frozen);
    supervisor_.Join();
  }

  TemporaryDirectory directory_;
  ControlBlock control_ = std::move(ControlBlock::Create(1).value());
  Job job_;
  Supervisor supervisor_;
};

TEST_F(SupervisorTest, TellsAJobOfEachStep) {
  Run(true, {.stall_timeout_ms = 60'000});
  EXPECT_EQ(job_.calls, (Calls{"Attach", "Saved", "LastSteps", "Ended"}));
  EXPECT_TRUE(job_.end.ok());
  EXPECT_FALSE(supervisor_.out_of_time());
  EXPECT_EQ(directory_.List(), Calls{"snapshot"});
}

TEST_F(SupervisorTest, TellsAJobThatWasNotFrozenOfNothingElse) {
  Run(false, {.stall_timeout_ms = 60'000});
  EXPECT_EQ(job_.calls, Calls{"NotFrozen"});
  EXPECT_EQ(directory_.List(), Calls{});
}

TEST_F(SupervisorTest, ADiskThatHangsAtTheEndIsTheReasonEvenIfItAnswersInTheGrace) {
  // Continues as soon as the supervisor has given up waiting.
  job_.last_steps = [](int, PublishTurn* turn) {
    while (!turn->given_up()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return Status(Success{});
  };
  Run(true, {.stall_timeout_ms = 100});
  ASSERT_FALSE(job_.end.ok());
  EXPECT_EQ(job_.end.failure().code, FailureCode::kStalled);
  EXPECT_TRUE(supervisor_.out_of_time()) << "a second attempt would be made";
}

}  // namespace
}  // namespace stillframe::test
