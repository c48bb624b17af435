// A thread that nobody waits for leaves nothing behind: neither what its body holds nor the memory that it was started with.
// Proved by an object that the body holds, and by what malloc has given out after some thousand such threads.
#include "base/thread.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <memory>

#include "test/engine_fixture.h"

namespace stillframe::test {
namespace {

// Starts so many detached threads, one after the other, and waits for the end of each.
void RunDetached(int count) {
  for (int i = 0; i < count; i++) {
    auto held = std::make_shared<std::atomic<bool>>(false);
    const std::weak_ptr<std::atomic<bool>> left = held;
    ASSERT_TRUE(Thread::StartDetached("test", [held = std::move(held)] { *held = true; }).ok());
    while (!left.expired()) sched_yield();
  }
}

TEST(DetachedThread, TakesWhatItHoldsAndItselfAwayWithIt) {
  const Watchdog watchdog(std::chrono::seconds(60));
  RunDetached(100);  // stacks and arenas, which are used again
#if defined(__GLIBC__)
  const size_t before = mallinfo2().uordblks;
  RunDetached(2'000);
  // The least leak is an object of some ten bytes.
  EXPECT_LT(mallinfo2().uordblks, before + size_t{2'000} * 8);
#endif
}

TEST(DetachedThread, ThatCannotBeStartedIsAResult) {
  // No room for such a stack. In a child, whose default it is.
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

}  // namespace
}  // namespace stillframe::test
