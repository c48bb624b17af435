// A forked copy that may be alone ends itself if it takes too much memory or time, or stops making
// progress, and records the reason. Tested with copies of this process that do just that.
#include "heap/self_watch.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "base/mapping.h"

namespace stillframe::test {
namespace {

constexpr int kEnded = 7;
constexpr uint64_t kMiB = uint64_t{1} << 20;

class SelfWatch : public ::testing::Test {
 protected:
  // Exit status of a copy that runs `body` under these limits. A body takes half a minute at most.
  template <typename Body>
  int EndOf(const SelfLimits& limits, Body body) {
    const pid_t pid = fork();
    if (pid == 0) {
      WatchOverSelf(control_.value(), limits, kEnded);
      body();
      _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  SelfEnd why() { return control_.value().counters()->self_end; }

  // The watch's signal interrupts the sleep, so continue it.
  static void Sleep(int seconds) {
    for (timespec left{seconds, 0}; nanosleep(&left, &left) != 0;) continue;
  }

  static void Compute(int seconds) {
    timespec used{};
    do {
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    } while (used.tv_sec < seconds);
  }

  Result<HeapControl> control_ = HeapControl::Create();
};

TEST_F(SelfWatch, LetsACopyWithinItsLimitsBe) {
  EXPECT_EQ(EndOf({64 * kMiB, 60'000, 60'000}, [] { Sleep(1); }), 0);
  EXPECT_EQ(why(), SelfEnd::kNone);
}

TEST_F(SelfWatch, EndsACopyThatTakesTooMuchMemory) {
  const auto take = [] {
    void* memory =
        mmap(nullptr, 256 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, 256 * kMiB);
    Sleep(30);
  };
  EXPECT_EQ(EndOf({64 * kMiB, 0, 0}, take), kEnded);
  EXPECT_EQ(why(), SelfEnd::kOutOfMemory);
}

TEST_F(SelfWatch, EndsACopyWhoseTimeIsUpAlsoWhileItComputes) {
  EXPECT_EQ(EndOf({0, 300, 0}, [] { Compute(30); }), kEnded);
  EXPECT_EQ(why(), SelfEnd::kOutOfTime);
}

TEST_F(SelfWatch, EndsACopyThatStandsStill) {
  EXPECT_EQ(EndOf({0, 0, 300}, [] { Sleep(30); }), kEnded);
  EXPECT_EQ(why(), SelfEnd::kStalled);
}

TEST_F(SelfWatch, DoesNotTakeComputingForStandingStill) {
  EXPECT_EQ(EndOf({0, 0, 5000}, [] { Compute(1); }), 0);
}

TEST_F(SelfWatch, EndsACopyThatWaitsForALockOfNobody) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "TSan holds the signal back until the wait is over";
#endif
  const auto wait = [] {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mutex);
    pthread_mutex_lock(&mutex);
  };
  EXPECT_EQ(EndOf({}, wait), kEnded);
  EXPECT_EQ(why(), SelfEnd::kWaitsForEver);
}

}  // namespace
}  // namespace stillframe::test
