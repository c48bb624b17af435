// A slot is never handed out twice at once, the count of slots taken is never too high, whatever
// happens in between, and children do not inherit the contents. Tested with threads that take and
// give slots, and with a thread that is delayed at the one critical instruction.
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

// Runs a function when a write hits read-only memory; then the write is retried.
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

// A thread is delayed between reading the first free slot and taking it. Meanwhile the same slot
// becomes the first one again, but with another one second (the ABA problem), which the thread must
// notice. A read-only page of the pool causes the delay. (On processors with reservations instead
// of compare-and-swap, the fault clears the reservation, so the problem cannot occur.)
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
  // The last free slot, since the second one is still taken.
  const uint32_t third = pool->Take();
  EXPECT_NE(third, first);
  EXPECT_NE(third, second);
  EXPECT_EQ(pool->Take(), SlotPool::kNone);
  pool->~SlotPool();
}

}  // namespace
}  // namespace stillframe::test
