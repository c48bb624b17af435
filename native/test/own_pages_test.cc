// Memory that is protected page by page must not share its pages, and checking this for many
// sources does not make the pause a long one. Tested with neighbors that do or do not share a page,
// in any order, and by comparing the processor time of the check with that of sorting the same
// list.
#include "freeze/own_pages.h"

#include <gtest/gtest.h>
#include <time.h>

#include <algorithm>
#include <random>

#include "memory/page.h"

namespace stillframe::test {
namespace {

// These addresses are never dereferenced.
FreezeSource At(uint64_t page, uint64_t byte_length, uint64_t offset = 0) {
  return {reinterpret_cast<std::byte*>(page * SystemPageSize() + offset), byte_length, true};
}

int64_t ProcessorNanoseconds() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<int64_t>(used.tv_sec) * 1'000'000'000 + used.tv_nsec;
}

TEST(OwnPages, NeighboursAreTaken) {
  const uint64_t page = SystemPageSize();
  EXPECT_TRUE(CheckOwnPages({At(8, page), At(7, page), At(9, 1), At(10, 3 * page)}).ok());
}

TEST(OwnPages, SourcesThatShareAPageAreRefusedInAnyOrder) {
  const uint64_t page = SystemPageSize();
  std::vector<FreezeSource> sources = {At(4, page), At(5, page + 1), At(6, 1), At(8, page)};
  do {
    Status shared = CheckOwnPages(sources);
    ASSERT_FALSE(shared.ok());
    EXPECT_EQ(shared.failure().code, FailureCode::kEngineUnavailable);
  } while (std::next_permutation(
      sources.begin(), sources.end(),
      [](const FreezeSource& a, const FreezeSource& b) { return a.data < b.data; }));
}

TEST(OwnPages, ASourceWithinAnotherOneIsRefused) {
  const uint64_t page = SystemPageSize();
  EXPECT_FALSE(CheckOwnPages({At(4, 100 * page), At(50, page)}).ok());
  EXPECT_FALSE(CheckOwnPages({At(4, page), At(4, page)}).ok());
}

TEST(OwnPages, EmptySourcesAreInNobodysWay) {
  const uint64_t page = SystemPageSize();
  EXPECT_TRUE(CheckOwnPages({At(4, 3 * page), At(5, 0), At(5, 0), At(7, page)}).ok());
}

TEST(OwnPages, ASourceThatBeginsInsideAPageIsRefused) {
  EXPECT_FALSE(CheckOwnPages({At(4, 10, 16)}).ok());
}

TEST(OwnPages, ManySourcesCostAsMuchAsSortingThemAFewTimes) {
  std::vector<FreezeSource> sources(65'535);  // the maximum of a file
  for (size_t i = 0; i < sources.size(); i++) sources[i] = At(i + 1, 1);
  std::shuffle(sources.begin(), sources.end(), std::mt19937_64(1));

  const int64_t began = ProcessorNanoseconds();
  ASSERT_TRUE(CheckOwnPages(sources).ok());
  const int64_t checked = ProcessorNanoseconds();
  std::sort(sources.begin(), sources.end(),
            [](const FreezeSource& a, const FreezeSource& b) { return a.data < b.data; });
  const int64_t sorted = ProcessorNanoseconds();
  // Comparing all pairs would take about a hundred times as long.
  EXPECT_LT(checked - began, 20 * (sorted - checked));
}

}  // namespace
}  // namespace stillframe::test
