// No slot is handed out to two at once, no more are counted than there are, whatever comes between, and no child gets
// what is in them. Proved with threads that take and give, and with one that is held up at the one instruction that
// matters.
#include "freeze/slot_pool.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <array>
#include <functional>
#include <memory>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "memory/mapping_list.h"
#include "memory/page.h"

namespace stillframe::test {
namespace {

TEST(SlotPool, IsKeptOutOfChildrenAsTheRegionsAre) {
  Result<SlotPool> pool = SlotPool::Create(SystemPageSize(), SystemPageSize());
  ASSERT_TRUE(pool.ok());
  EXPECT_TRUE(IsDontFork(pool.value().Bytes(0)).value());
}

TEST(SlotPool, NeverCountsMoreSlotsThanThereAre) {
  constexpr uint32_t kSlots = 1;
  Result<SlotPool> made = SlotPool::Create(kSlots * SystemPageSize(), SystemPageSize());
  ASSERT_TRUE(made.ok());
  SlotPool& pool = made.value();
  std::array<std::atomic<int>, kSlots> owners{};
  std::atomic<int> twice{0};
  std::vector<std::thread> threads;
  threads.reserve(6);
  for (int i = 0; i < 6; i++) {
    threads.emplace_back([&] {
      for (int round = 0; round < 1'000'000; round++) {
        const uint32_t slot = pool.Take();
        if (slot == SlotPool::kNone) continue;
        if (owners[slot].fetch_add(1) != 0) twice++;
        owners[slot].fetch_sub(1);
        pool.Give(slot);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(twice, 0);
  EXPECT_EQ(pool.used(), 0U);
  EXPECT_LE(pool.peak(), kSlots);
}

// Runs a function where a write meets memory that may not be written to, and then has it try again.
class AtAFault {
 public:
  explicit AtAFault(std::function<void()> run) {
    run_ = std::move(run);
    struct sigaction action {};
    action.sa_handler = [](int) { run_(); };
    sigaction(SIGSEGV, &action, &before_);
  }
  AtAFault(const AtAFault&) = delete;
  AtAFault& operator=(const AtAFault&) = delete;
  ~AtAFault() { sigaction(SIGSEGV, &before_, nullptr); }

 private:
  static inline std::function<void()> run_;
  struct sigaction before_ {};
};

// A thread that is held up between looking at the first free slot and taking it finds the same slot first again, and another
// second: it must not believe its eyes. It is held up by a page of the pool that cannot be written to. (Where a processor
// takes a reservation instead of comparing, that is lost by the fault, and nobody can be deceived.)
TEST(SlotPool, NeverHandsOutASlotTwice) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the thread sanitizer locks around each atomic operation: a fault in one would "
                  "wait for ever";
#endif
  const size_t page_bytes = SystemPageSize();
  Result<SlotPool> made = SlotPool::Create(3 * page_bytes, page_bytes);
  Result<Mapping> page = Mapping::Anonymous(page_bytes, MAP_PRIVATE, "the page of the pool");
  ASSERT_TRUE(made.ok() && page.ok());
  static_assert(sizeof(SlotPool) <= 4096);
  auto* pool = new (page.value().data()) SlotPool(std::move(made.value()));
  const uint32_t first = pool->Take();
  const uint32_t second = pool->Take();
  pool->Give(second);
  pool->Give(first);

  int held_up = 0;
  const AtAFault meanwhile([&] {
    held_up++;
    mprotect(page.value().data(), page_bytes, PROT_READ | PROT_WRITE);
    EXPECT_EQ(pool->Take(), first);
    EXPECT_EQ(pool->Take(), second);
    pool->Give(first);
  });
  mprotect(page.value().data(), page_bytes, PROT_READ);
  EXPECT_EQ(pool->Take(), first);
  EXPECT_EQ(held_up, 1);
  // All that is left. The second is still somebody's.
  const uint32_t third = pool->Take();
  EXPECT_NE(third, first);
  EXPECT_NE(third, second);
  EXPECT_EQ(pool->Take(), SlotPool::kNone);
  pool->~SlotPool();
}

}  // namespace
}  // namespace stillframe::test
