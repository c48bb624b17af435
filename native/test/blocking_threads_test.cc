// A thread that blocks the signal of a fault is found before a fault can kill it, and threads that
// are known not to block it are not asked again and again. Proved with threads in child processes,
// and by counting the files that are opened.
#include "freeze/blocking_threads.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>

#include "base/sys.h"
#include "test/image_fixture.h"
#include "test/in_child.h"

namespace stillframe::test {
namespace {

constexpr uint64_t kAll = ~uint64_t{0};

constexpr uint64_t Bit(int number) { return uint64_t{1} << (number - 1); }

// A thread that never ends and blocks the given signals.
class Blocker {
 public:
  explicit Blocker(uint64_t blocked) {
    std::thread([state = state_, blocked] {
      sys::Sigprocmask(SIG_SETMASK, &blocked, nullptr);
      state->Tell(true);
      state->told.wait(true);
      const uint64_t all_later = Bit(SIGSEGV) | Bit(SIGBUS);
      sys::Sigprocmask(SIG_SETMASK, &all_later, nullptr);
      state->Tell(true);
      for (;;) pause();
    }).detach();
    state_->told.wait(false);
  }
  void BlockSegvAndBus() {
    state_->Tell(false);
    state_->told.wait(false);
  }

 private:
  struct State {
    std::atomic<bool> told{false};
    void Tell(bool value) {
      told = value;
      told.notify_all();
    }
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

bool IsFound(FaultSignal signal = FaultSignal::kSegv) { return !ThreadThatBlocks(signal).empty(); }

void Sleep(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

uint32_t OpenedBy(void (*work)()) {
  const FaultScope faults;
  FaultScope::Count("openat");
  work();
  return sys::CallCount(sys::Call::kOpenat);
}

class BlockingThreads : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "TSan has a thread that blocks all signals";
#endif
  }
};

TEST_F(BlockingThreads, AreFoundByTheSignalThatTheyBlock) {
  const auto body = [] {
    DEMAND(!IsFound());
    const Blocker blocks(Bit(SIGSEGV));
    DEMAND(IsFound(FaultSignal::kSegv));
    DEMAND(!IsFound(FaultSignal::kBus));
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

TEST_F(BlockingThreads, ThatBeginOrEndAreNone) {
  const auto body = [] {
    // The C library blocks all signals like this, including its own.
    const Blocker beginning(kAll);
    DEMAND(!IsFound());
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

TEST_F(BlockingThreads, OfNodeThatWereThereFromTheBeginningAreNone) {
  for (const uint64_t own : {Bit(32) | Bit(33), Bit(32) | Bit(33) | Bit(34)}) {  // glibc's, musl's
    const auto body = [own] {
      const Blocker inspector(kAll & ~own);
      DEMAND(IsFound());
      NoteQuietThreads();
      DEMAND(!IsFound());
      const Blocker other(kAll & ~own);
      DEMAND(IsFound());
      _exit(0);
    };
    EXPECT_IN_CHILD(body);
  }
}

TEST_F(BlockingThreads, AreFoundIfTheyBeginAfterALook) {
  const auto body = [] {
    LookAtThreads();
    Sleep(150);
    LookAtThreads();
    const Blocker blocks(Bit(SIGSEGV));
    DEMAND(IsFound());
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

TEST_F(BlockingThreads, AreFoundIfALookSawThemBeginning) {
  const auto body = [] {
    LookAtThreads();
    Sleep(150);
    Blocker thread(0);
    LookAtThreads();
    thread.BlockSegvAndBus();
    DEMAND(IsFound());
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

TEST_F(BlockingThreads, AreFoundIfALookHasSeenThemBlock) {
  for (const int signal : {SIGSEGV, SIGBUS}) {
    const auto body = [signal] {
      const Blocker blocks(Bit(signal));
      LookAtThreads();
      Sleep(150);
      LookAtThreads();
      DEMAND(IsFound(signal == SIGSEGV ? FaultSignal::kSegv : FaultSignal::kBus));
      _exit(0);
    };
    EXPECT_IN_CHILD(body);
  }
}

TEST_F(BlockingThreads, ThatAreKnownToBeNoneAreNotAskedForAWhile) {
  const auto body = [] {
    Blocker thread(0);
    const auto ask = [] { (void)ThreadThatBlocks(FaultSignal::kBus); };
    LookAtThreads();
    DEMAND(OpenedBy(ask) >= 2);
    Sleep(150);
    LookAtThreads();
    DEMAND(OpenedBy(ask) == 0);
    thread.BlockSegvAndBus();
    Sleep(2'100);
    DEMAND(IsFound());
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

}  // namespace
}  // namespace stillframe::test
