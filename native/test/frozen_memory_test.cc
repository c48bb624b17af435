// The frozen bytes of a page are kept before anybody can write to it, whether the writer or the
// saver comes first, even at the limit and when lifting a protection fails. Proved with a
// protection that overwrites a page at the very moment at which it is lifted, which is the worst
// that other threads can do.
#include "freeze/frozen_memory.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <functional>
#include <thread>

#include "image/page_sums.h"
#include "memory/page.h"
#include "test/engine_fixture.h"

namespace stillframe::test {
namespace {

constexpr std::byte kOld{0x11};
constexpr std::byte kNew{0xEE};

class OverwritingProtection final : public WriteProtection {
 public:
  int Protect(std::byte* start, size_t) override {
    if (before_protect) before_protect(start);
    return protects_left-- > 0 ? 0 : -ENOMEM;
  }
  int Lift(std::byte* start, size_t length) override {
    if (failures_left > 0) {
      failures_left--;
      return -ENOMEM;
    }
    lifts++;
    if (length > SystemPageSize() && hold_runs && !holding.exchange(true)) {
      holding.notify_all();
      hold_runs.wait(true);
    }
    // Atomic, since a writer and the saver may lift a page at the same time.
    for (std::byte* at = start; at < start + length; at++) {
      std::atomic_ref(*at).store(kNew, std::memory_order_relaxed);
    }
    return 0;
  }
  size_t PieceBytes(uint64_t) override { return piece_bytes; }
  bool CanDropAll() const override { return can_drop; }
  void DropAll() override { failures_left = 0; }
  const char* CallName() const override { return "lift"; }

  std::atomic<size_t> piece_bytes{SystemPageSize()};
  std::atomic<int> failures_left{0};
  std::function<void(std::byte*)> before_protect;
  int protects_left = INT_MAX;
  bool can_drop = false;
  std::atomic<int> lifts{0};
  // The first thread that lifts more than one page stops before it.
  std::atomic<bool> hold_runs{false};
  std::atomic<bool> holding{false};
};

class FrozenMemoryTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kPages = 64;

  std::unique_ptr<FrozenMemory> Freeze(uint64_t limit_pages, AtLimit at_limit = AtLimit::kWait,
                                       uint64_t pages = kPages) {
    region_ = OldRegion(pages);
    auto frozen = Create({{region_->data(), region_->byte_length(), true}}, limit_pages, at_limit);
    EXPECT_TRUE(frozen->ProtectAll().ok());
    return frozen;
  }
  std::unique_ptr<FrozenMemory> Create(const std::vector<FreezeSource>& sources,
                                       uint64_t limit_pages, AtLimit at_limit = AtLimit::kWait) {
    const std::shared_ptr<WriteProtection> protection(std::shared_ptr<void>(), &protection_);
    auto frozen =
        FrozenMemory::Create(sources, limit_pages * SystemPageSize(), at_limit, protection);
    EXPECT_TRUE(frozen.ok());
    return std::move(frozen.value());
  }
  static std::shared_ptr<RegionMemory> OldRegion(uint64_t pages) {
    auto region = TouchedRegion(pages * SystemPageSize(), false);
    memset(region->data(), static_cast<int>(kOld), region->byte_length());
    return region;
  }
  std::byte* PageAt(uint64_t page) { return region_->data() + page * SystemPageSize(); }

  // True if the saver gets the frozen bytes of these pages.
  static bool SavesOld(FrozenMemory& frozen, uint64_t first, uint64_t count) {
    std::vector<std::byte> out(count * SystemPageSize());
    std::vector<CopiedPage> pages(out.size() / kPageSize);
    frozen.CopyFrozen(0, first * SystemPageSize(), out.size(), out.data(), pages.data());
    const PageSum old = SumOfPage(std::vector<std::byte>(kPageSize, kOld).data());
    return std::all_of(out.begin(), out.end(), [](std::byte byte) { return byte == kOld; }) &&
           std::all_of(pages.begin(), pages.end(),
                       [&](const CopiedPage& page) { return page.sum == old && !page.zero; });
  }

  const Watchdog watchdog_{std::chrono::seconds(240)};
  OverwritingProtection protection_;
  std::shared_ptr<RegionMemory> region_;
  std::unique_ptr<FrozenMemory> frozen_;
};

TEST_F(FrozenMemoryTest, TheSaverCopiesBeforeItLifts) {
  auto frozen = Freeze(kPages);
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
  EXPECT_EQ(*PageAt(kPages - 1), kNew);
}

TEST_F(FrozenMemoryTest, TheFaultHandlerCopiesBeforeItLifts) {
  auto frozen = Freeze(kPages);
  for (uint64_t page = 0; page < kPages; page += 3) {
    frozen->ResolveWrite(PageAt(page) + page);
    EXPECT_EQ(*PageAt(page), kNew);
  }
  EXPECT_EQ(frozen->copied_pages(), 22U);
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
  EXPECT_EQ(frozen->copied_bytes(), 0U);
}

TEST_F(FrozenMemoryTest, ALargerPieceIsKeptAsAWhole) {
  protection_.piece_bytes = 16 * SystemPageSize();
  auto frozen = Freeze(kPages);
  frozen->ResolveWrite(PageAt(20));
  EXPECT_EQ(frozen->copied_pages(), 16U);
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
}

TEST_F(FrozenMemoryTest, ALargerPieceTakesOneLiftAlsoOverPagesThatAreWritableAlready) {
  auto frozen = Freeze(kPages);
  frozen->ResolveWrite(PageAt(18));
  frozen->ResolveWrite(PageAt(27));
  protection_.piece_bytes = 16 * SystemPageSize();
  frozen->ResolveWrite(PageAt(20));
  EXPECT_EQ(protection_.lifts, 3);
  EXPECT_EQ(frozen->copied_pages(), 16U);
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
}

TEST_F(FrozenMemoryTest, ALargerPieceEndsWhereAnotherThreadIsAtWork) {
  auto frozen = Freeze(kPages);
  protection_.piece_bytes = 2 * SystemPageSize();
  protection_.hold_runs = true;
  std::thread other([&] { frozen->ResolveWrite(PageAt(24)); });
  protection_.holding.wait(false);
  protection_.piece_bytes = 16 * SystemPageSize();
  frozen->ResolveWrite(PageAt(20));
  EXPECT_EQ(frozen->copied_pages(), 8U) << "up to page 24";
  EXPECT_EQ(std::atomic_ref(*PageAt(24)).load(), kOld);
  protection_.hold_runs = false;
  protection_.hold_runs.notify_all();
  other.join();
  EXPECT_EQ(frozen->copied_pages(), 10U);
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
}

TEST_F(FrozenMemoryTest, ALiftOfALargerPieceThatFailsIsAsIfItHadNotBeenTried) {
  auto frozen = Freeze(kPages);
  protection_.piece_bytes = 16 * SystemPageSize();
  protection_.failures_left = 3;
  std::thread writer([&] { frozen->ResolveWrite(PageAt(5)); });
  writer.join();
  EXPECT_EQ(frozen->copied_bytes(), 16 * SystemPageSize());
  EXPECT_EQ(frozen->copied_pages(), 16U);
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
  EXPECT_EQ(frozen->copied_bytes(), 0U);
}

TEST_F(FrozenMemoryTest, ALiftThatFailsIsAsIfItHadNotBeenTried) {
  auto frozen = Freeze(kPages);
  protection_.failures_left = 3;
  std::thread writer([&] { frozen->ResolveWrite(PageAt(5)); });
  writer.join();
  EXPECT_EQ(*PageAt(5), kNew);
  EXPECT_EQ(frozen->copied_bytes(), SystemPageSize());
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
}

TEST_F(FrozenMemoryTest, NoWriterIsLetThroughBeforeTheLastSourceIsProtected) {
  const auto first = OldRegion(1);
  const auto second = OldRegion(1);
  std::atomic<bool> through{false};
  std::thread writer;
  protection_.before_protect = [&](std::byte* start) {
    if (start != second->data()) return;
    writer = std::thread([&, frozen = frozen_.get()] {
      frozen->ResolveWrite(first->data());
      through = true;
    });
    usleep(200'000);
    EXPECT_FALSE(through);
  };
  frozen_ = Create(
      {{first->data(), first->byte_length(), true}, {second->data(), second->byte_length(), true}},
      kPages);
  EXPECT_TRUE(frozen_->ProtectAll().ok());
  writer.join();
  EXPECT_EQ(*first->data(), kNew);
}

TEST_F(FrozenMemoryTest, AFreezeThatIsRefusedHalfwayLeavesNothingProtected) {
  const auto first = OldRegion(1);
  const auto second = OldRegion(1);
  protection_.protects_left = 1;
  auto frozen = Create(
      {{first->data(), first->byte_length(), true}, {second->data(), second->byte_length(), true}},
      kPages);
  EXPECT_FALSE(frozen->ProtectAll().ok());
  EXPECT_EQ(*first->data(), kNew);
  // A writer that has come across the first source does not wait for the second.
  EXPECT_EQ(frozen->ResolveWrite(first->data()), Resolved::kWritable);
}

TEST_F(FrozenMemoryTest, EmptySourcesHideNobody) {
  region_ = OldRegion(kPages);
  const FreezeSource whole{region_->data(), region_->byte_length(), true};
  for (const uint64_t page : {0, 5}) {
    const FreezeSource empty{PageAt(page), 0, true};
    EXPECT_TRUE(Create({whole, empty}, kPages)->Contains(PageAt(page)));
    EXPECT_TRUE(Create({empty, whole}, kPages)->Contains(PageAt(kPages - 1)));
  }
}

TEST_F(FrozenMemoryTest, WhatIsLookedAtAfterAllWasLiftedIsNothing) {
  auto frozen = Freeze(kPages);
  std::vector<std::byte> seen(kPages * SystemPageSize());
  frozen->Peek(0, 0, seen.size(), seen.data());
  EXPECT_EQ(seen, std::vector<std::byte>(seen.size(), kOld));
  frozen->LiftAll();
  frozen->Peek(0, 0, seen.size(), seen.data());
  EXPECT_EQ(seen, std::vector<std::byte>(seen.size()));
}

TEST_F(FrozenMemoryTest, EachChunkIsSavedOnceAndThoseThatFillThePoolFirst) {
  constexpr uint64_t kChunks = 3;
  const uint64_t pages_in_chunk = kChunkSize / SystemPageSize();
  auto frozen = Freeze(4, AtLimit::kWait, kChunks * pages_in_chunk);
  for (uint64_t page = 0; page < 4; page++) frozen->ResolveWrite(PageAt(pages_in_chunk + page));
  ControlHeader control{};
  const auto next = [&] { return frozen->NextChunk(&control, kChunks); };
  EXPECT_EQ((std::array{next(), next(), next()}), (std::array<uint64_t, 3>{1, 0, 2}));
  EXPECT_GE(next(), kChunks);
}

TEST_F(FrozenMemoryTest, NoChunkIsWorthSavingOnceAllIsLifted) {
  auto frozen = Freeze(kPages);
  frozen->LiftAll();
  ControlHeader control{};
  EXPECT_EQ(frozen->NextChunk(&control, 1), 1U);
}

TEST_F(FrozenMemoryTest, ASaverThatIsRefusedLeavesThePagesToTheirWriters) {
  auto frozen = Freeze(kPages);
  protection_.failures_left = 1;
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
  EXPECT_EQ(*PageAt(5), kOld);
  EXPECT_EQ(frozen->ResolveWrite(PageAt(5)), Resolved::kWritable);
  EXPECT_EQ(*PageAt(5), kNew);
  EXPECT_EQ(*PageAt(6), kOld);
  EXPECT_EQ(frozen->LiftAll(), 0);
  EXPECT_EQ(*PageAt(6), kNew);
}

TEST_F(FrozenMemoryTest, LiftingAllSaysWhatWasRefusedAndMayBeTriedAgain) {
  auto frozen = Freeze(kPages);
  protection_.failures_left = 2;
  EXPECT_EQ(frozen->LiftAll(), ENOMEM);
  EXPECT_EQ(frozen->LiftAll(), ENOMEM);
  EXPECT_EQ(*PageAt(0), kOld);
  EXPECT_EQ(frozen->LiftAll(), 0);
  EXPECT_EQ(*PageAt(0), kNew);
}

TEST_F(FrozenMemoryTest, AWriterThatIsRefusedForEverIsToldSo) {
  auto frozen = Freeze(kPages);
  protection_.failures_left = INT_MAX;
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
  EXPECT_EQ(frozen->ResolveWrite(PageAt(5)), Resolved::kRefused);
  EXPECT_EQ(frozen->given_up_for(), 0);
}

TEST_F(FrozenMemoryTest, WhereAllCanBeDroppedARefusedWriterGoesOnAndTheCaptureIsGivenUp) {
  protection_.can_drop = true;
  for (const bool saved : {false, true}) {
    protection_.failures_left = INT_MAX;
    auto frozen = Freeze(kPages);
    if (saved) {
      EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
    }
    EXPECT_EQ(frozen->ResolveWrite(PageAt(5)), Resolved::kWritable);
    EXPECT_EQ(frozen->given_up_for(), ENOMEM);
    EXPECT_EQ(*PageAt(kPages - 1), kNew);
  }
}

TEST_F(FrozenMemoryTest, AWriterDoesNotWaitForASaverThatHasStopped) {
  auto frozen = Freeze(kPages);
  protection_.hold_runs = true;
  std::thread saver([&] { EXPECT_TRUE(SavesOld(*frozen, 0, kPages)); });
  protection_.holding.wait(false);
  for (uint64_t page = 0; page < kPages; page += 7) {
    frozen->ResolveWrite(PageAt(page));
    EXPECT_EQ(std::atomic_ref(*PageAt(page)).load(), kNew);
  }
  EXPECT_EQ(*PageAt(1), kOld);
  protection_.hold_runs = false;
  protection_.hold_runs.notify_all();
  saver.join();
  EXPECT_EQ(*PageAt(1), kNew);
  EXPECT_EQ(frozen->copied_bytes(), 0U);
}

TEST_F(FrozenMemoryTest, WhatAWriterTakesFromASaverInItsMidstIsSavedAsItWas) {
#if defined(__SANITIZE_THREAD__)
  constexpr int kRounds = 200;  // a round takes a hundred times as long
#else
  constexpr int kRounds = 2'000;
#endif
  for (int round = 0; round < kRounds; round++) {
    auto frozen = Freeze(kPages);
    std::atomic<bool> go{false};
    std::thread writer([&] {
      go.wait(false);
      // Starts at the end and moves toward the saver, which starts at the front.
      for (uint64_t page = kPages; page-- > 0;) frozen->ResolveWrite(PageAt(page));
    });
    go = true;
    go.notify_all();
    ASSERT_TRUE(SavesOld(*frozen, 0, kPages)) << "round " << round;
    writer.join();
    ASSERT_EQ(*PageAt(0), kNew);
    ASSERT_EQ(frozen->copied_bytes(), 0U);
  }
}

TEST_F(FrozenMemoryTest, AtTheLimitAWriterWaitsForTheSaver) {
  auto frozen = Freeze(2);
  frozen->ResolveWrite(PageAt(0));
  frozen->ResolveWrite(PageAt(1));
  std::atomic<bool> through{false};
  std::thread writer([&] {
    frozen->ResolveWrite(PageAt(2));
    through = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(through);
  EXPECT_EQ(*PageAt(2), kOld);
  EXPECT_TRUE(SavesOld(*frozen, 0, 1));
  writer.join();
  EXPECT_TRUE(SavesOld(*frozen, 1, kPages - 1));
  EXPECT_EQ(frozen->copied_bytes_peak(), 2 * SystemPageSize());
  EXPECT_FALSE(frozen->limit_reached());
}

TEST_F(FrozenMemoryTest, AtTheLimitAWriterMayEndTheCaptureInstead) {
  auto frozen = Freeze(2, AtLimit::kAbort);
  for (uint64_t page = 0; page < 3; page++) frozen->ResolveWrite(PageAt(page));
  EXPECT_TRUE(frozen->limit_reached());
  EXPECT_EQ(*PageAt(kPages - 1), kNew);  // everything is lifted
}

TEST_F(FrozenMemoryTest, WithoutMeansAWriterWaitsAndTheCaptureGoesOn) {
  auto frozen = Freeze(kPages, AtLimit::kAbort);
  protection_.piece_bytes = 0;
  std::thread writer([&] { frozen->ResolveWrite(PageAt(7)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(frozen->limit_reached());
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
  writer.join();
  EXPECT_FALSE(frozen->limit_reached());
}

TEST_F(FrozenMemoryTest, PrepareWriteKeepsBothBorderPages) {
  auto frozen = Freeze(kPages);
  frozen->PrepareWrite(PageAt(4) - 1, 2 * SystemPageSize() + 2);
  EXPECT_EQ(frozen->copied_pages(), 4U);
  frozen->PrepareWrite(PageAt(40), 0);
  EXPECT_EQ(frozen->copied_pages(), 4U);
  EXPECT_TRUE(SavesOld(*frozen, 0, kPages));
}

}  // namespace
}  // namespace stillframe::test
