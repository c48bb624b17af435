// The fault handler takes faults on armed memory for as long as they may occur, and no others, and
// it does not interfere with anything else. Proved in child processes, with faults that a process
// sends to itself and that may claim anything.
#include "freeze/fault_router.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>
#include <utility>

#include "base/sys.h"
#include "memory/page.h"
#include "test/engine_fixture.h"
#include "test/in_child.h"

namespace stillframe::test {
namespace {

// Protects nothing, and records who lifts.
class WatchedProtection final : public WriteProtection {
 public:
  int Protect(std::byte*, size_t) override { return 0; }
  int Lift(std::byte*, size_t) override {
    lifted_on = __builtin_frame_address(0);
    lifts++;
    lifts.notify_all();
    hold.wait(true);
    return refuse ? -ENOMEM : 0;
  }
  size_t PieceBytes(uint64_t) override { return SystemPageSize(); }
  const char* CallName() const override { return "lift"; }

  void* lifted_on = nullptr;
  std::atomic<int> lifts{0};
  std::atomic<bool> hold{false};
  std::atomic<bool> refuse{false};
};

std::atomic<int> calls_of_host{0};

// The handler that was installed before ours.
void InstallHostHandler(int signal) {
  struct sigaction action {};
  action.sa_handler = [](int) { calls_of_host++; };
  action.sa_flags = SA_NODEFER;
  sigaction(signal, &action, nullptr);
}

void SendFault(int signal, int code, void* address) {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = code;
  info.si_addr = address;
  syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), signal, &info);
}

std::unique_ptr<FrozenMemory> Freezable(const std::shared_ptr<RegionMemory>& region,
                                        std::shared_ptr<WriteProtection> protection) {
  auto made = FrozenMemory::Create({{region->data(), region->byte_length(), true}},
                                   SystemPageSize(), AtLimit::kWait, std::move(protection));
  return std::move(made.value());
}

// One page of a capture.
struct ArmedPage {
  explicit ArmedPage(FaultSignal signal = FaultSignal::kSegv) {
    frozen = Freezable(region, protection);
    if (!Arm(frozen.get(), signal).ok() || !frozen->ProtectAll().ok()) _exit(99);
  }
  std::byte* address() const { return region->data(); }

  std::shared_ptr<WatchedProtection> protection = std::make_shared<WatchedProtection>();
  std::shared_ptr<RegionMemory> region = TouchedRegion(SystemPageSize(), false);
  std::unique_ptr<FrozenMemory> frozen;
};

class FaultRouter : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "TSan puts a handler of its own in front, and has a thread that blocks all "
                    "signals";
#endif
  }
};

TEST_F(FaultRouter, LeavesFaultsOfAnotherKindToTheHost) {
  const auto body = [] {
    InstallHostHandler(SIGSEGV);
    InstallHostHandler(SIGBUS);
    const ArmedPage one;
    SendFault(SIGSEGV, SEGV_MAPERR, one.address());
    DEMAND(calls_of_host == 1 && one.frozen->copied_pages() == 0);
    SendFault(SIGSEGV, SEGV_ACCERR, one.address());
    DEMAND(calls_of_host == 1 && one.frozen->copied_pages() == 1);
    const ArmedPage other(FaultSignal::kBus);
    SendFault(SIGBUS, BUS_ADRALN, other.address());
    DEMAND(calls_of_host == 2 && other.frozen->copied_pages() == 0);
    SendFault(SIGBUS, BUS_ADRERR, other.address());
    DEMAND(calls_of_host == 2 && other.frozen->copied_pages() == 1);
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

TEST_F(FaultRouter, AFaultMayComeWhenTheCaptureHasEnded) {
  const auto body = [] {
    InstallHostHandler(SIGSEGV);
    const ArmedPage page;
    page.frozen->LiftAll();
    Disarm(page.frozen.get());
    SendFault(SIGSEGV, SEGV_ACCERR, page.address());
    DEMAND(calls_of_host == 0);
    // A fault that occurs again and again must have another cause.
    int believed = 0;
    for (; believed < 20'000 && calls_of_host == 0; believed++) {
      SendFault(SIGSEGV, SEGV_ACCERR, page.address());
    }
    DEMAND(calls_of_host > 0);
    // The host must not get it at once: protection that is dropped as a whole may take time to end.
    DEMAND(believed > 200);
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

TEST_F(FaultRouter, DisarmingWaitsForWhoeverIsInTheHandler) {
  const auto body = [] {
    const ArmedPage page;
    page.protection->hold = true;
    std::thread writer([&] { SendFault(SIGSEGV, SEGV_ACCERR, page.address()); });
    page.protection->lifts.wait(0);
    std::atomic<bool> disarmed{false};
    std::thread end([&] {
      Disarm(page.frozen.get());
      disarmed = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    DEMAND(!disarmed);
    page.protection->hold = false;
    page.protection->hold.notify_all();
    writer.join();
    end.join();
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

TEST_F(FaultRouter, RunsOnTheStackThatAThreadHasForSignals) {
  const auto body = [] {
    static std::array<std::byte, size_t{1} << 18> stack;
    const stack_t alternative{.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
    sigaltstack(&alternative, nullptr);
    const ArmedPage page;
    SendFault(SIGSEGV, SEGV_ACCERR, page.address());
    const auto* at = static_cast<const std::byte*>(page.protection->lifted_on);
    DEMAND(at >= stack.data() && at < stack.data() + stack.size());
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

TEST_F(FaultRouter, ASignalFromOutsideEndsTheProcessAsBefore) {
  const auto body = [] {
    signal(SIGSEGV, SIG_DFL);
    const ArmedPage page;
    kill(getpid(), SIGSEGV);
    _exit(0);
  };
  EXPECT_EXIT(body(), ::testing::KilledBySignal(SIGSEGV), "");
}

TEST_F(FaultRouter, ASignalThatTheHostIgnoresIsIgnored) {
  const auto body = [] {
    signal(SIGSEGV, SIG_IGN);
    const ArmedPage page;
    kill(getpid(), SIGSEGV);
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

TEST_F(FaultRouter, WhatCouldNotBeLiftedIsTriedAgainBeforeTheNextArming) {
  const auto body = [] {
    ArmedPage page;
    page.protection->refuse = true;
    DEMAND(page.frozen->LiftAll() == ENOMEM);
    StayArmed(std::move(page.frozen));
    page.protection->refuse = false;
    const int lifts = page.protection->lifts;
    const ArmedPage other;
    DEMAND(page.protection->lifts == lifts + 1);
    // It is no longer in the way.
    const auto again = Freezable(page.region, page.protection);
    DEMAND(Arm(again.get(), FaultSignal::kSegv).ok());
    _exit(0);
  };
  EXPECT_IN_CHILD(body);
}

}  // namespace
}  // namespace stillframe::test
