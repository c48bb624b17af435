// A thread receives no signals meant for the host and leaves nothing behind, even if nobody waits
// for it: neither objects held by its body nor the memory it was started with. Tested with an
// object that the body holds, and by malloc's statistics after some thousand such threads.
#include "base/thread.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <memory>

#include "test/engine_fixture.h"

namespace stillframe::test {
namespace {

// Starts `count` detached threads, one after the other, and waits for the end of each.
void RunDetached(int count) {
  for (int i = 0; i < count; i++) {
    auto held = std::make_shared<std::atomic<bool>>(false);
    const std::weak_ptr<std::atomic<bool>> left = held;
    ASSERT_TRUE(Thread::StartDetached("test", [held = std::move(held)] { *held = true; }).ok());
    while (!left.expired()) sched_yield();
  }
}

TEST(DetachedThread, TakesWhatItHoldsAndItselfAwayWithIt) {
  const Watchdog watchdog(std::chrono::seconds(240));
  RunDetached(100);  // stacks and arenas, which are reused
#if defined(__GLIBC__)
  const size_t before = mallinfo2().uordblks;
  RunDetached(2'000);
  // The smallest leak is an object of about ten bytes.
  EXPECT_LT(mallinfo2().uordblks, before + size_t{2'000} * 8);
#endif
}

TEST(DetachedThread, ThatCannotBeStartedIsAResult) {
  // There is no memory for such a stack. In a child, since this is a default of the process.
  EXPECT_EXIT(
      {
        pthread_attr_t endless;
        pthread_attr_init(&endless);
        pthread_attr_setstacksize(&endless, size_t{1} << 50);
        pthread_setattr_default_np(&endless);
        auto held = std::make_shared<int>(1);
        const std::weak_ptr<int> left = held;
        const Status started = Thread::StartDetached("test", [held = std::move(held)] {});
        _exit(started.ok() || !left.expired() ? 1 : 0);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST(Thread, BlocksAllSignalsButThoseThatItBringsOnItself) {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, SIGUSR2);
  sigset_t before;
  pthread_sigmask(SIG_SETMASK, &one, &before);
  sigset_t inside;
  sigemptyset(&inside);
  Thread thread;
  ASSERT_TRUE(thread.Start("test", [&] { pthread_sigmask(SIG_SETMASK, nullptr, &inside); }).ok());
  thread.Join();
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGALRM}) {
    EXPECT_EQ(sigismember(&inside, signal), 1) << signal;
  }
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    EXPECT_EQ(sigismember(&inside, fault), 0) << fault;
  }
  // The thread that starts another one keeps its own mask.
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, &before, &after);
  for (int signal = 1; signal < 32; signal++) {
    EXPECT_EQ(sigismember(&after, signal), signal == SIGUSR2 ? 1 : 0) << signal;
  }
}

TEST(Thread, ThatHasBeenJoinedHoldsNothingAnyMore) {
  auto held = std::make_shared<int>(1);
  const std::weak_ptr<int> left = held;
  Thread thread;
  ASSERT_TRUE(thread.Start("test", [held = std::move(held)] {}).ok());
  thread.Join();
  EXPECT_TRUE(left.expired());
}

}  // namespace
}  // namespace stillframe::test
