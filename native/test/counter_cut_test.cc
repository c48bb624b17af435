// A capture of several regions is a causally consistent cut even while other threads write: no
// capture holds an effect without its cause. Proved by threads that keep A - 1 <= B <= A over
// counters in different regions (and within one page), alone and taking turns, through thousands of
// captures by every engine, with a pool that is sometimes large and sometimes tiny.
#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <cinttypes>
#include <cstdio>
#include <random>

#include "memory/page.h"
#include "test/engine_fixture.h"

namespace stillframe::test {
namespace {

constexpr size_t kRegions = 4;
constexpr size_t kRegionBytes = size_t{1} << 20;
constexpr size_t kWriters = 2;
constexpr size_t kFirstShared = 8;
constexpr size_t kSharedPages = 4;
constexpr size_t kCountersOffset = 40 * 4096;  // far from both ends of a region

using Word = std::atomic<uint64_t>;

class CounterCut : public ::testing::TestWithParam<Variant> {
 protected:
  // Counter number `slot` of a region. Each has a page to itself.
  Word* Counter(size_t region, size_t slot) const {
    return reinterpret_cast<Word*>(regions_[region]->data() + kCountersOffset +
                                   slot * SystemPageSize());
  }
  Word* Shared(size_t region, size_t page, size_t writer) const {
    return Page(region, kFirstShared + page) + writer * 64;
  }
  Word* Page(size_t region, size_t page) const {
    return reinterpret_cast<Word*>(regions_[region]->data() + page * SystemPageSize());
  }

  // Each writer keeps a pair of its own in two regions: it writes A first, then B.
  // Pages of its own, in all regions, keep the same promise between their first and
  // their last word, and cause faults.
  WRITES_MEMORY void WriteAlone(size_t writer) {
    std::minstd_rand random(static_cast<unsigned>(writer) + 1);
    Word* a = Counter(writer % kRegions, writer);
    Word* b = Counter((writer + 1) % kRegions, writer);
    for (uint64_t n = 1; !stop_.load(std::memory_order_relaxed); n++) {
      a->store(n, std::memory_order_seq_cst);
      b->store(n, std::memory_order_seq_cst);
      WriteOwnPage(writer, random());
      // All writers share these pages, and another writer may be in the middle of its
      // first write to one.
      Shared(random() / 64 % kRegions, random() / 64 % kSharedPages, writer)
          ->store(n, std::memory_order_seq_cst);
      last_[writer] = n;
    }
  }

  // Two writers take turns on the first and the last region. One thread writes the cause, and
  // another that has seen it writes the effect.
  WRITES_MEMORY void TakeTurns(bool first) {
    std::minstd_rand random(first ? 77 : 78);
    Word* a = Counter(0, kWriters);
    Word* b = Counter(kRegions - 1, kWriters);
    while (!stop_.load(std::memory_order_relaxed)) {
      const uint64_t is_a = a->load(std::memory_order_seq_cst);
      const uint64_t is_b = b->load(std::memory_order_seq_cst);
      const bool my_turn = first == (is_b == is_a);
      if (!my_turn) {
        sched_yield();
        continue;
      }
      if (first) a->store(is_a + 1, std::memory_order_seq_cst);
      if (!first) b->store(is_a, std::memory_order_seq_cst);
      WriteOwnPage(first ? kWriters : kWriters + 1, random());
    }
  }

  // Writes to the pages above the counters, which are interleaved by writer.
  WRITES_MEMORY void WriteOwnPage(size_t writer, uint64_t random) {
    constexpr size_t kAll = kWriters + 2;
    const size_t page = 60 + random % 38 * kAll + writer;
    Word* words = Page(random / 64 % kRegions, page);
    const uint64_t next = words[0].load(std::memory_order_relaxed) + 1;
    words[0].store(next, std::memory_order_seq_cst);
    words[511].store(next, std::memory_order_seq_cst);
  }

  // Number of promises that the capture breaks.
  int TornIn(const DirectCapture& capture) const {
    const auto saved = [&](size_t region, size_t byte) {
      uint64_t word = 0;
      capture.ReadSaved(static_cast<uint32_t>(region), byte, &word, sizeof word);
      return word;
    };
    const auto holds = [](uint64_t a, uint64_t b) { return b == a || b + 1 == a; };
    int torn = 0;
    for (size_t pair = 0; pair <= kWriters; pair++) {
      const bool turns = pair == kWriters;
      const size_t at = kCountersOffset + pair * SystemPageSize();
      const uint64_t a = saved(turns ? 0 : pair % kRegions, at);
      const uint64_t b = saved(turns ? kRegions - 1 : (pair + 1) % kRegions, at);
      torn += !holds(a, b);
      // A write that came after B must not be seen without it.
      for (size_t each = 0; !turns && each < kRegions * kSharedPages; each++) {
        const size_t page = kFirstShared + each / kRegions;
        torn += saved(each % kRegions, page * SystemPageSize() + pair * 64 * sizeof(Word)) > b;
      }
    }
    for (size_t region = 0; region < kRegions; region++) {
      for (size_t page = 60; page < 250; page += 7) {
        const size_t at = page * SystemPageSize();
        torn += !holds(saved(region, at), saved(region, at + 511 * sizeof(Word)));
      }
    }
    return torn;
  }

  void StartWriters() {
    for (size_t i = 0; i < kRegions; i++)
      regions_.push_back(TouchedRegion(kRegionBytes, i % 2 == 0));
    for (const auto& region : regions_) memset(region->data(), 0, kRegionBytes);
    for (size_t i = 0; i < kWriters; i++) writers_.emplace_back([this, i] { WriteAlone(i); });
    writers_.emplace_back([this] { TakeTurns(true); });
    writers_.emplace_back([this] { TakeTurns(false); });
  }
  void StopWriters() {
    stop_ = true;
    for (std::thread& writer : writers_) writer.join();
  }

  Regions regions_;
  std::vector<std::thread> writers_;
  std::atomic<bool> stop_{false};
  std::array<uint64_t, kWriters> last_{};
};

TEST_P(CounterCut, NoCaptureIsTornAndNoWriteIsLost) {
  if (const std::string why = Missing(GetParam()); !why.empty()) GTEST_SKIP() << why;
#if defined(__SANITIZE_THREAD__)
  if (GetParam() == Variant::kMprotect || GetParam() == Variant::kUserfaultfdSignal) {
    GTEST_SKIP()
        << "TSan has a thread of its own that blocks all signals, which is a reason to refuse";
  }
#endif
  const int captures = LongMode() ? 10'000 : 100;
  const Watchdog watchdog(std::chrono::seconds(LongMode() ? 1800 : 240));
  std::minstd_rand random(4711);
  StartWriters();
  int torn = 0;
  uint64_t copied = 0;
  int refused = 0;
  for (int i = 0; i < captures; i++) {
    // The limit ranges from four pages, where writers wait for the saver most of the time, to
    // more pages than there are.
    const uint64_t limit =
        GetParam() == Variant::kFork ? UINT64_MAX : uint64_t{4 * 4096} << random() % 9;
    DirectCapture capture(GetParam(), regions_, limit);
    Status done = capture.Prepare();
    if (done.ok()) done = capture.Freeze();
    if (done.ok()) done = capture.Finish();
    if (!done.ok()) {
      refused++;
      ADD_FAILURE() << "capture " << i << ": " << Status(done).failure().message;
      if (refused > 5) break;
      continue;
    }
    const int broken = TornIn(capture);
    torn += broken > 0;
    copied += capture.cost().pages;
    EXPECT_LE(capture.cost().bytes_peak, std::min<uint64_t>(limit, kRegions * kRegionBytes)) << i;
  }
  StopWriters();
  printf("[ counts   ] %s: %d captures, %d torn, %d refused, %" PRIu64 " pages copied, %" PRIu64
         " rounds of the writers\n",
         NameOf(GetParam()), captures, torn, refused, copied, last_[0]);
  EXPECT_EQ(torn, 0);
  for (size_t i = 0; i < kWriters; i++) {
    EXPECT_EQ(Counter(i % kRegions, i)->load(), last_[i]) << "a write was lost";
    EXPECT_EQ(Counter((i + 1) % kRegions, i)->load(), last_[i]) << "a write was lost";
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, CounterCut,
                         ::testing::Values(Variant::kFork, Variant::kMprotect,
                                           Variant::kUserfaultfdThread,
                                           Variant::kUserfaultfdSignal),
                         [](const auto& variant) { return NameOf(variant.param); });

}  // namespace
}  // namespace stillframe::test
